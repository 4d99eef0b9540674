package agent

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"meshd/agent/localapi"
	"meshd/agent/netcfg"
	"meshd/dnssd/mdns"
	"meshd/punch"
	"meshd/punch/wire"
)

// fakeLAN is multicast DNS that hears what the test says.
type fakeLAN struct {
	config mdns.Config

	mu      sync.Mutex // guards following
	port    uint16
	on      []mdns.Interface
	members int
	runs    int
}

func (f *fakeLAN) SetInterfaces(port uint16, on []mdns.Interface) {
	f.set(func() { f.port, f.on = port, on })
}
func (f *fakeLAN) SetMembers(keys [][32]byte) { f.set(func() { f.members = len(keys) }) }
func (f *fakeLAN) Run(ctx context.Context) error {
	f.set(func() { f.runs++ })
	<-ctx.Done()
	f.set(func() { f.runs-- })
	return nil
}

func (f *fakeLAN) set(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// interfaces are the names of those that are announced on.
func (f *fakeLAN) interfaces() (names []string) {
	f.set(func() {
		for _, i := range f.on {
			names = append(names, i.Name)
		}
	})
	return names
}

func TestNeighbours(t *testing.T) {
	hub := newHub(t)
	join := hub.Join().String()
	m := newMachine(t, "a")
	var lan *fakeLAN
	m.config.NewLAN = func(c mdns.Config) LAN {
		lan = &fakeLAN{config: c}
		return lan
	}
	eth0 := netcfg.Interface{Name: "eth0", Addresses: []netip.Addr{addr("192.168.1.2")}}
	m.host.SetLAN(eth0)
	a := m.start(join)
	a.awaitState(localapi.Running)
	b := newMachine(t, "b").start(join)
	b.awaitState(localapi.Running)
	a.awaitPeers("b")
	await(t, "b is listened for", func() bool { n := 0; lan.set(func() { n = lan.members }); return n == 1 })
	key := Key(hub.Member("b").WireguardKey)

	t.Log("b ends, and the hub says so; then it is heard of on the LAN")
	b.stop()
	online := func() (on bool) {
		a.puncher().set(func() { on = len(a.puncher().peers) == 1 && a.puncher().peers[0].Online })
		return on
	}
	await(t, "b offline", func() bool { return !online() })
	lan.config.Changed([]mdns.Peer{{Key: key, Addresses: []netip.Addr{addr("192.168.1.9")}, Port: 4000}})
	await(t, "b online", online)
	var first wire.Candidate
	a.puncher().set(func() { first = a.puncher().peers[0].Candidates[0] })
	if want := (wire.Candidate{Kind: wire.Host, Addr: addrPort("192.168.1.9:4000")}); first != want {
		t.Errorf("got candidate %v first, want %v", first, want)
	}
	if s := a.Status(); !s.Peers[0].LAN {
		t.Errorf("the status does not say that b is on the LAN: %+v", s.Peers[0])
	}

	t.Log("b is not heard of any more, and offline as the hub says")
	lan.config.Changed(nil)
	await(t, "b offline", func() bool { return !online() && !a.Status().Peers[0].LAN })

	t.Log("a gets a second interface, and announces there too; when it ends it is quiet")
	m.host.SetLAN(eth0, netcfg.Interface{Name: "wlan0", Addresses: []netip.Addr{addr("192.168.2.2")}})
	m.fire(netcfg.Event{Reason: "address 192.168.2.2/24 is new"})
	await(t, "two interfaces", func() bool { return slices.Equal(lan.interfaces(), []string{"eth0", "wlan0"}) })
	if lan.port != a.puncher().config.Port {
		t.Errorf("announced port %d, want %d", lan.port, a.puncher().config.Port)
	}
	a.stop()
	if lan.runs != 0 {
		t.Error("it still announces")
	}
}

func TestNeighboursOff(t *testing.T) {
	m := newMachine(t, "a")
	m.config.MDNS = "off"
	m.config.NewLAN = func(mdns.Config) LAN { t.Error("a LAN was made"); return &fakeLAN{} }
	d := m.start(newHub(t).Join().String())
	d.awaitState(localapi.Running)
	m.fire(netcfg.Event{Reason: "a test"})
	await(t, "the network looked at", func() bool { n := 0; d.puncher().set(func() { n = d.puncher().links }); return n > 0 })
	d.stop()

	t.Log("it lasts")
	m.config.MDNS = ""
	d = m.start("")
	d.awaitState(localapi.Running)
	if _, err := New(Config{MDNS: "maybe"}); err == nil || !errors.As(err, new(*localapi.Error)) {
		t.Errorf("got %v for an unknown mode", err)
	}
}

func TestNeighboursAddresses(t *testing.T) {
	key := Key{1}
	told := []wire.Candidate{{Kind: wire.Reflexive, Addr: addrPort("203.0.113.9:1")}, {Kind: wire.Host, Addr: addrPort("192.168.1.9:4000")}}
	m := &Netmap{Peers: map[wire.RelayID]Peer{7: {ID: 7, Key: key, Candidates: told}, 8: {ID: 8, Key: Key{2}}}}
	n := &neighbours{heard: newLatest[[]mdns.Peer]()}
	n.known.Store(&map[Key][]wire.Candidate{})
	if n.onto(m) != m {
		t.Error("nobody was heard of, and the map is another")
	}
	n.heard.set([]mdns.Peer{{Key: key, Addresses: []netip.Addr{addr("192.168.1.9"), addr("fd00::9")}, Port: 4000}, {Key: Key{3}, Port: 1}})
	n.update()
	with := n.onto(m)
	want := []wire.Candidate{told[1], {Kind: wire.Host, Addr: addrPort("[fd00::9]:4000")}, told[0]}
	if p := with.Peers[7]; !p.Online || !slices.Equal(p.Candidates, want) {
		t.Errorf("got %+v, want online and %v", p, want)
	}
	if p := m.Peers[7]; p.Online || len(p.Candidates) != 2 || with.Peers[8].Online {
		t.Errorf("others changed: %+v", m.Peers)
	}
	peers := punchPeers(with, false)
	if slices.ContainsFunc(peers, func(p punch.Peer) bool { return p.Online != (p.Key == key) }) {
		t.Errorf("got %+v", peers)
	}
}

// TestNeighboursWithoutSecret: a map of an older hub has no secret, and nothing
// is said on the LAN until one comes.
func TestNeighboursWithoutSecret(t *testing.T) {
	m := newMachine(t, "a")
	m.host.SetLAN(netcfg.Interface{Name: "eth0", Addresses: []netip.Addr{addr("192.168.1.2")}})
	var made []*fakeLAN
	m.config.NewLAN = func(c mdns.Config) LAN {
		made = append(made, &fakeLAN{config: c})
		return made[len(made)-1]
	}
	a, err := New(m.config)
	if err != nil {
		t.Fatal(err)
	}
	l := &loop{Agent: a, log: a.cfg.Log, private: newPrivateKey(), netmap: &Netmap{}}
	n := l.newNeighbours(t.Context())
	n.look()
	n.take(&Netmap{})
	if len(made) != 0 {
		t.Fatal("it is announced with no secret")
	}
	for range 2 {
		n.take(&Netmap{Mesh: Mesh{LANSecret: Key{7}}})
	}
	n.stop()
	if len(made) != 1 || made[0].config.Secret != (Key{7}) || !slices.Equal(made[0].interfaces(), []string{"eth0"}) {
		t.Errorf("made %d, want one with the secret", len(made))
	}
}
