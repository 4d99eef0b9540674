package coordinator_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"meshd/coordinator"
	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/punch/relay"
	"meshd/punch/wire"
)

// leg is a member's UDP session at the hub's relay.
type leg struct {
	t      *testing.T
	conn   *net.UDPConn
	relay  netip.AddrPort
	client *relay.Client
}

// bindUDP opens a session as an agent does: with what its full map says.
func bindUDP(t *testing.T, full *meshdv1.MapResponse) *leg {
	t.Helper()
	l := newLeg(t, full)
	l.write(l.client.Start(time.Now(), l.relay))
	for {
		m := l.read()
		send, _ := l.client.Receive(time.Now(), m, l.relay)
		l.write(send)
		if m[1] == byte(wire.Welcome) {
			return l
		}
	}
}

func newLeg(t *testing.T, full *meshdv1.MapResponse) *leg {
	t.Helper()
	port := full.GetMesh().GetRelays()[0].GetUdp()[0] // ":port": at the host of the control connection
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(loopback(0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &leg{
		t: t, conn: conn, relay: netip.MustParseAddrPort("127.0.0.1" + port),
		client: relay.NewClient(relay.ClientConfig{
			ID: wire.RelayID(full.GetSelf().GetId()), Key: wire.RelayKey(full.GetSelf().GetRelayKey()),
		}),
	}
}

func (l *leg) addr() string { return l.conn.LocalAddr().String() }

func (l *leg) write(datagrams [][]byte) {
	l.t.Helper()
	for _, b := range datagrams {
		if _, err := l.conn.WriteToUDPAddrPort(b, l.relay); err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *leg) read() []byte {
	l.t.Helper()
	b := make([]byte, 2048)
	l.conn.SetReadDeadline(time.Now().Add(patience))
	n, err := l.conn.Read(b)
	if err != nil {
		l.t.Fatal(err)
	}
	return b[:n]
}

// ours is the id of the pair of the NAS, 1, and the laptop, 2.
var ours = wire.PairID(1, 2)

// data is a relay datagram between the two.
func data(epoch uint16, payload string) []byte {
	return append(wire.AppendHeader(nil, wire.Header{Type: wire.Data, Epoch: epoch, ID: ours}), payload...)
}

func wantData(t *testing.T, b []byte, payload string) {
	t.Helper()
	h, err := wire.ParseHeader(b)
	if err != nil || h.Type != wire.Data || h.ID != ours || string(b[wire.HeaderSize:]) != payload {
		t.Errorf("got %v %q, %v, want %q", h, b, err, payload)
	}
}

func TestRelayBetweenMembers(t *testing.T) {
	h := newHub(t, &coordinator.MemoryStore{})
	j := h.key(&meshdv1.CreateKeyRequest{Reusable: true, Approved: true})
	nas, laptop := h.join("nas", j), h.join("laptop", j)
	atNAS, atLaptop := nas.watch(), laptop.watch()
	nasMap, laptopMap := atNAS.next(), atLaptop.next()
	atNAS.member("laptop")

	t.Log("the NAS binds by UDP: where it is seen becomes its endpoint at once")
	udp := bindUDP(t, nasMap)
	if m := atLaptop.member("nas"); m.GetEndpoints()[0].GetAddress() != udp.addr() || m.GetEndpoints()[0].GetKind() != "reflexive" {
		t.Errorf("got %v, want %s", m.GetEndpoints(), udp.addr())
	}
	t.Log("its NAT gives it another port: the old one is replaced")
	moved := bindUDP(t, nasMap)
	if m := atLaptop.member("nas"); len(m.GetEndpoints()) != 1 || m.GetEndpoints()[0].GetAddress() != moved.addr() {
		t.Errorf("got %v, want %s alone", m.GetEndpoints(), moved.addr())
	}

	t.Log("the laptop can have no UDP: it comes by WebSocket on the control port")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tls, err := relay.DialWebSocket(ctx, laptop.client.URL(laptopMap.GetMesh().GetRelays()[0].GetWebsocket()), laptop.client.HTTP())
	if err != nil {
		t.Fatal(err)
	}
	defer tls.Close()
	tls.Send(data(0, "to the NAS"))
	wantData(t, moved.read(), "to the NAS")
	moved.write([][]byte{data(moved.client.Epoch(), "to the laptop")})
	b, err := tls.Read()
	if err != nil {
		t.Fatal(err)
	}
	wantData(t, b, "to the laptop")

	t.Log("the owner sees how both are bound")
	list, err := h.admin.ListMembers(t.Context(), &meshdv1.ListMembersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"udp", "tls"} {
		if got := list.GetMembers()[i]; got.GetRelay() != want || got.GetObserved() == "" {
			t.Errorf("got %v, want it bound by %s", got, want)
		}
	}
	await(t, "two sessions and two packets in the status", func() bool { // packets are counted when they have left
		status, err := h.admin.Status(t.Context(), &meshdv1.StatusRequest{})
		return err == nil && status.GetRelaySessions() == 2 && status.GetRelayPackets() >= 2
	})

	t.Log("deleted: its session is gone, and so is the laptop's when that one expires")
	if _, err := h.admin.DeleteMember(t.Context(), &meshdv1.DeleteMemberRequest{Member: "nas"}); err != nil {
		t.Fatal(err)
	}
	moved.write([][]byte{data(moved.client.Epoch(), "anyone there?")})
	if head, err := wire.ParseHeader(moved.read()); err != nil || head.Type != wire.Reset {
		t.Errorf("got %v, %v, want a RESET", head, err)
	}
	if _, err := h.admin.ExpireMember(t.Context(), &meshdv1.ExpireMemberRequest{Member: "laptop"}); err != nil {
		t.Fatal(err)
	}
	if _, err := tls.Read(); err == nil {
		t.Error("the WebSocket of an expired member lives on")
	}
	if _, err := relay.DialWebSocket(ctx, laptop.client.URL("/relay"), laptop.client.HTTP()); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("got %v, want that an expired member may not relay", err)
	}
}

func TestPendingMembersCannotBind(t *testing.T) {
	h := newHub(t, &coordinator.MemoryStore{})
	j := h.key(&meshdv1.CreateKeyRequest{Approved: true})
	full := h.join("nas", j).watch().next()
	h.join("guest", h.key(&meshdv1.CreateKeyRequest{}))

	t.Log("not even with the relay key of another member")
	full.Self.Id = 2
	guest := newLeg(t, full)
	guest.write(guest.client.Start(time.Now(), guest.relay))
	guest.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := guest.conn.Read(make([]byte, 100)); err == nil {
		t.Errorf("a pending member was answered with %d bytes", n)
	}
}

func TestPendingMembersPublishNothing(t *testing.T) {
	h := newHub(t, &coordinator.MemoryStore{})
	nas := h.join("nas", h.key(&meshdv1.CreateKeyRequest{}))
	if _, err := nas.client.Exchange(t.Context(), make([]byte, 12)); err == nil || !strings.Contains(err.Error(), `403: member "nas" is pending`) {
		t.Errorf("got %v, want 403", err)
	}
}
