package coordinator_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"meshd/coordinator"
	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/dnssd"
)

// withNames is a hub that answers by DNS; newHub's own is not used.
func withNames(t *testing.T, public bool) (*hub, netip.AddrPort) {
	t.Helper()
	conn, ln, err := dnssd.Listen(t.Context(), loopback(0))
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(ln.Addr().String())
	conn.Close()
	ln.Close()
	h := newHub(t, nil)
	h.stop()
	h.config.DNS, h.config.DNSPublic = at, public
	h.start()
	return h, at
}

// answer is what a server says of a name: the data of the records, or the error.
func answer(t *testing.T, server netip.AddrPort, name, qtype string) string {
	t.Helper()
	lines, err := dnssd.Query(t.Context(), server, name, qtype)
	if r, ok := errors.AsType[*dnssd.Rejection](err); ok {
		return r.Rcode
	}
	if err != nil {
		t.Fatal(err)
	}
	var data []string
	for _, line := range lines {
		data = append(data, strings.Join(strings.Fields(line)[4:], " "))
	}
	slices.Sort(data)
	return strings.Join(data, ", ")
}

func TestNamesOfMembers(t *testing.T) {
	h, server := withNames(t, true)
	nas := h.join("nas", h.key(&meshdv1.CreateKeyRequest{Approved: true}))
	self := nas.watch().next().GetSelf()
	peer := dnssd.InstanceLabel([32]byte(nas.identity.Public())) + "._wireguard._udp.home.internal"

	t.Log("a member has addresses, and as soon as it says where it is, an endpoint")
	if got := answer(t, server, "nas.home.internal", "A"); got != self.GetAddresses()[0] {
		t.Errorf("got %s, want %s", got, self.GetAddresses()[0])
	}
	if got := answer(t, server, peer, "SRV"); got != "NXDOMAIN" {
		t.Errorf("got %s before there is an endpoint", got)
	}
	if err := nas.publish(at("host 192.168.1.2:41641", "reflexive 203.0.113.9:2000")); err != nil {
		t.Fatal(err)
	}
	if got := answer(t, server, peer, "SRV"); got != "0 0 2000 "+peer+"." {
		t.Errorf("got %s", got)
	}
	if got := answer(t, server, peer, "A"); got != "203.0.113.9" {
		t.Errorf("got %s", got)
	}
	if got := answer(t, server, "_cand."+peer, "TXT"); strings.Contains(got, "192.168") {
		t.Errorf("a stranger is told %s", got)
	}

	t.Log("its key does the same by plain DNS; by another key nothing happens")
	key, err := dnssd.DeriveKey(self.GetRelayKey(), "home.internal", "nas", nas.identity.Public())
	if err != nil {
		t.Fatal(err)
	}
	moved := at("mapped 203.0.113.9:3000")
	if err := update(t, server, nas, key, moved); err != nil {
		t.Fatal(err)
	}
	if got := answer(t, server, peer, "SRV"); got != "0 0 3000 "+peer+"." {
		t.Errorf("got %s", got)
	}
	wrong := key
	wrong.Secret[0]++
	if r, ok := errors.AsType[*dnssd.Rejection](update(t, server, nas, wrong, dnssd.Publication{})); !ok || r.TSIG != "BADSIG" {
		t.Errorf("got %v, want BADSIG", r)
	}
	if got := answer(t, server, peer, "SRV"); got != "0 0 3000 "+peer+"." {
		t.Errorf("got %s", got)
	}

	t.Log("a new name is the only one; who is gone has none")
	if _, err := h.admin.RenameMember(t.Context(), &meshdv1.RenameMemberRequest{Member: "nas", Name: "vault"}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"nas": "NXDOMAIN", "vault": self.GetAddresses()[0]} {
		if got := answer(t, server, name+".home.internal", "A"); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	if _, err := nas.client.Control.Leave(t.Context(), &meshdv1.LeaveRequest{}); err != nil {
		t.Fatal(err)
	}
	if got := answer(t, server, "vault.home.internal", "A"); got != "NXDOMAIN" {
		t.Errorf("got %s", got)
	}
}

// update writes p into the zone by DNS.
func update(t *testing.T, server netip.AddrPort, d *device, key dnssd.Key, p dnssd.Publication) error {
	t.Helper()
	r := dnssd.Registration{Zone: "home.internal", Member: "nas", Peer: [32]byte(d.identity.Public()), Key: key, New: p}
	m, err := r.Message(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	reply, err := dnssd.Send(t.Context(), server, m.Data)
	if err != nil {
		t.Fatal(err)
	}
	return m.Check(reply)
}

func TestNamesForStrangers(t *testing.T) {
	h, server := withNames(t, false)
	h.join("nas", h.key(&meshdv1.CreateKeyRequest{Approved: true}))
	if got := answer(t, server, "nas.home.internal", "A"); got != "REFUSED" {
		t.Errorf("got %s, want REFUSED", got)
	}

	t.Log("a port that is taken is an error that names it")
	c := h.config
	c.StateDir, c.Listen = t.TempDir(), loopback(0)
	c.Store = &coordinator.MemoryStore{}
	_, err := coordinator.New(c)
	if err == nil || !strings.Contains(err.Error(), server.String()) {
		t.Errorf("got %v", err)
	}
}
