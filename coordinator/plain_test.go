package coordinator_test

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/miekg/dns"
	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"

	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/dnssd"
)

// phone is a real WireGuard device that knows the hub as its peer.
func phone(t *testing.T, private *ecdh.PrivateKey, hubKey []byte, endpoint string) *wireguard.Device {
	t.Helper()
	d := wireguard.NewDevice(tuntest.NewChannelTUN().TUN(), conn.NewDefaultBind(), wireguard.NewLogger(wireguard.LogLevelSilent, ""))
	t.Cleanup(d.Close)
	err := d.IpcSet(fmt.Sprintf("private_key=%x\npublic_key=%x\nendpoint=%s\npersistent_keepalive_interval=25\n", private.Bytes(), hubKey, endpoint))
	if err == nil {
		err = d.Up()
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestPlainMember(t *testing.T) {
	h, server := withNames(t, false)
	nas := h.join("nas", h.key(&meshdv1.CreateKeyRequest{Approved: true}))
	atNAS := nas.watch()
	self := atNAS.next().GetSelf()
	if err := nas.publish(at("mapped 203.0.113.9:3000")); err != nil {
		t.Fatal(err)
	}

	t.Log("the owner adds a phone: it gets an address, and all that a configuration needs")
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	added, err := h.admin.AddClient(t.Context(), &meshdv1.AddClientRequest{Name: "phone", WireguardKey: private.PublicKey().Bytes()})
	if err != nil {
		t.Fatal(err)
	}
	c := added.GetClient()
	if m := c.GetMember().GetMember(); m.GetName() != "phone" || !m.GetPlain() || m.GetOnline() || len(m.GetAddresses()) != 2 ||
		c.GetZone() != "home.internal" || c.GetDns() != server.String() || len(c.GetHubKey()) != 32 ||
		len(c.GetPeers()) != 1 || c.GetPeers()[0].GetName() != "nas" {
		t.Errorf("got %v", c)
	}
	if m := atNAS.member("phone"); !m.GetPlain() || m.GetOnline() {
		t.Errorf("got %v, want the phone, offline", m)
	}
	again, err := h.admin.ClientConfig(t.Context(), &meshdv1.ClientConfigRequest{Member: "phone"})
	if err != nil || !slices.Equal(again.GetClient().GetHubKey(), c.GetHubKey()) {
		t.Errorf("got %v, %v, want the same again", again, err)
	}
	for want, r := range map[string]*meshdv1.AddClientRequest{
		"WireGuard key of 3 bytes": {Name: "tablet", WireguardKey: []byte("key")},
		"belongs to":               {Name: "phone", WireguardKey: slices.Repeat([]byte{9}, 32)},
		"already":                  {Name: "tablet", WireguardKey: private.PublicKey().Bytes()},
		`"Ta blet"`:                {Name: "Ta blet", WireguardKey: slices.Repeat([]byte{9}, 32)},
	} {
		if _, err := h.admin.AddClient(t.Context(), r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want …%s…", err, want)
		}
	}
	_, err = h.admin.ClientConfig(t.Context(), &meshdv1.ClientConfigRequest{Member: "nas"})
	failed(t, err, connect.CodeInvalidArgument, `member "nas" runs meshd`)

	t.Log("a stranger's address may not ask the zone")
	peer := strings.ToUpper(strings.TrimSuffix(dnssd.InstanceLabel([32]byte(nas.identity.Public())), "."))
	if got := answer(t, server, peer+"._wireguard._udp.home.internal", "SRV"); got != "REFUSED" {
		t.Errorf("got %s before the phone was heard, want REFUSED", got)
	}

	t.Log("it shakes hands with the hub, in vain, and so everybody knows where it is")
	status, err := h.admin.Status(t.Context(), &meshdv1.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	phone(t, private, c.GetHubKey(), status.GetUdp()[0])
	m := atNAS.member("phone")
	if !m.GetOnline() || len(m.GetEndpoints()) != 1 || !strings.HasPrefix(m.GetEndpoints()[0].GetAddress(), "127.0.0.1:") {
		t.Fatalf("got %v, want the phone online at its address", m)
	}

	t.Log("now whoever is at its address may ask as wgsd's client does, and the nas is told to punch toward the phone")
	if got := answer(t, server, peer+"._wireguard._udp.home.internal", "SRV"); !strings.HasPrefix(got, "0 0 3000 ") {
		t.Errorf("got %s, want the port of the nas", got)
	}
	if got := answer(t, server, "_cand."+peer+"._wireguard._udp.home.internal", "TXT"); got != "NXDOMAIN" {
		t.Errorf("candidates: got %s, want NXDOMAIN", got)
	}
	if got := atNAS.next(); !slices.Equal(got.GetPunch(), []uint32{c.GetMember().GetMember().GetId()}) {
		t.Errorf("got %v, want to be told of the phone", got)
	}
	if got := answer(t, server, hex.EncodeToString(self.GetRelayKey())[:8]+".home.internal", "A"); got != "NXDOMAIN" {
		t.Errorf("got %s, want NXDOMAIN", got)
	}

	t.Log("deleted, it is nobody")
	if _, err := h.admin.DeleteMember(t.Context(), &meshdv1.DeleteMemberRequest{Member: "phone"}); err != nil {
		t.Fatal(err)
	}
	if got := answer(t, server, "nas.home.internal", "A"); got != "REFUSED" {
		t.Errorf("got %s, want REFUSED", got)
	}
}

// TestQuestionsOfMembersPunch: who asks by a signed question, or by the control
// connection, is known whatever its address.
func TestQuestionsOfMembersPunch(t *testing.T) {
	h, _ := withNames(t, false)
	j := h.key(&meshdv1.CreateKeyRequest{Reusable: true, Approved: true})
	nas, laptop := h.join("nas", j), h.join("laptop", j)
	atNAS := nas.watch()
	atNAS.next()
	if err := nas.publish(at("mapped 203.0.113.9:3000")); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for range 5 {
		if _, err := laptop.client.Exchange(t.Context(), srvQuestion(t, nas)); err != nil {
			t.Fatal(err)
		}
	}
	t.Log("its own questions make it punch toward nobody")
	if _, err := nas.client.Exchange(t.Context(), srvQuestion(t, nas)); err != nil {
		t.Fatal(err)
	}
	if _, err := h.admin.RenameMember(t.Context(), &meshdv1.RenameMemberRequest{Member: "laptop", Name: "desk"}); err != nil {
		t.Fatal(err)
	}
	told := 0
	for {
		m := atNAS.next()
		if names(m) != nil {
			break
		}
		if told++; !slices.Equal(m.GetPunch(), []uint32{2}) {
			t.Errorf("got %v, want to be told of the laptop", m)
		}
	}
	t.Log("and is told once a second at most")
	if limit := 1 + int(time.Since(start)/time.Second); told == 0 || told > limit {
		t.Errorf("told %d times, want 1 to %d", told, limit)
	}
}

// TestHandshakesOfStrangers: nothing that is no plain member's handshake is heard,
// and nothing at all is answered.
func TestHandshakesOfStrangers(t *testing.T) {
	h, server := withNames(t, false)
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	added, err := h.admin.AddClient(t.Context(), &meshdv1.AddClientRequest{Name: "phone", WireguardKey: private.PublicKey().Bytes()})
	if err != nil {
		t.Fatal(err)
	}
	status, err := h.admin.Status(t.Context(), &meshdv1.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	phone(t, stranger, added.GetClient().GetHubKey(), status.GetUdp()[0])
	phone(t, private, stranger.PublicKey().Bytes(), status.GetUdp()[0])
	sock, err := net.Dial("udp", status.GetUdp()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	forged := make([]byte, 148)
	forged[0] = 1
	if _, err := sock.Write(forged); err != nil {
		t.Fatal(err)
	}
	sock.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if n, err := sock.Read(make([]byte, 2000)); err == nil {
		t.Errorf("a handshake was answered by %d bytes", n)
	}
	if got := answer(t, server, "phone.home.internal", "A"); got != "REFUSED" {
		t.Errorf("got %s, want REFUSED: nobody proved to be the phone", got)
	}
	if _, err := netip.ParseAddrPort(added.GetClient().GetHubEndpoint()); err != nil {
		t.Errorf("hub endpoint: %v", err)
	}
}

// srvQuestion asks where a device is.
func srvQuestion(t *testing.T, d *device) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion(dnssd.InstanceLabel([32]byte(d.identity.Public()))+"._wireguard._udp.home.internal.", dns.TypeSRV)
	data, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return data
}
