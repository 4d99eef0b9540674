package agent

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"meshd/agent/localapi"
	"meshd/agent/netcfg"
	"meshd/dnssd"
	"meshd/punch"
	"meshd/punch/wire"
)

var busy = netip.MustParseAddrPort("0.0.0.0:53")

// listenDNS listens on loopback for an overlay address.
func (m *machine) listenDNS(ctx context.Context, at netip.AddrPort) (net.PacketConn, net.Listener, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dns[at.Addr()] == busy {
		return nil, nil, syscall.EADDRINUSE
	}
	conn, ln, err := dnssd.Listen(ctx, netip.MustParseAddrPort("127.0.0.1:0"))
	if err == nil {
		m.dns[at.Addr()] = ln.Addr().(*net.TCPAddr).AddrPort()
	}
	return conn, ln, err
}

func (m *machine) setDNS(overlay string, at netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dns[addr(overlay)] = at
}

// ask asks the server of an overlay address, and returns the records' data.
func (m *machine) ask(overlay, name, qtype string) string {
	m.mu.Lock()
	server := m.dns[addr(overlay)]
	m.mu.Unlock()
	if !server.IsValid() {
		return "nobody answers"
	}
	lines, err := dnssd.Query(m.t.Context(), server, name, qtype)
	if r, ok := errors.AsType[*dnssd.Rejection](err); ok {
		return r.Rcode
	}
	if err != nil {
		return err.Error()
	}
	var data []string
	for _, line := range lines {
		f := strings.Fields(line)
		data = append(data, strings.Join(f[4:], " "))
	}
	slices.Sort(data)
	return strings.Join(data, " ")
}

func (m *machine) awaitAnswer(overlay, name, qtype, want string) {
	m.t.Helper()
	await(m.t, name+" "+qtype+" "+want, func() bool { return m.ask(overlay, name, qtype) == want })
}

func TestZone(t *testing.T) {
	hub := newHub(t)
	join := hub.Join().String()
	a := newMachine(t, "a").start(join)
	a.awaitState(localapi.Running)
	a.awaitAnswer("100.96.0.1", "a.apitest.internal", "A", "100.96.0.1")
	a.awaitAnswer("fd00:6d65:7368::1", "a.apitest.internal", "AAAA", "fd00:6d65:7368::1")
	a.awaitAnswer("100.96.0.1", "b.apitest.internal", "A", "NXDOMAIN")
	want := localapi.DNS{Zone: "apitest.internal", Server: "100.96.0.1", Mode: "hosts"}
	await(t, "status to tell of it", func() bool { return reflect.DeepEqual(a.Status().DNS, want) })

	t.Log("b joins, and is known; also who it is at what address")
	b := newMachine(t, "b").start(join)
	b.awaitState(localapi.Running)
	a.awaitAnswer("100.96.0.1", "b.apitest.internal", "A", "100.96.0.2")
	a.awaitAnswer("100.96.0.1", "2.0.96.100.in-addr.arpa", "PTR", "b.apitest.internal.")
	peer := dnssd.InstanceLabel(Key(hub.Member("b").WireguardKey)) + "._wireguard._udp.apitest.internal"
	a.awaitAnswer("100.96.0.1", "_cand."+peer, "TXT", `"c0=host `+endpoint.Addr.String()+`"`)
	if got := a.ask("100.96.0.1", "example.org", "A"); got != "SERVFAIL" {
		t.Errorf("got %s for a name that is not of the mesh, of a host without servers", got)
	}

	t.Log("b is deleted, and unknown")
	hub.Delete("b")
	a.awaitAnswer("100.96.0.1", "b.apitest.internal", "A", "NXDOMAIN")

	t.Log("a ends, though somebody holds a connection, and answers no more")
	idle, err := net.Dial("tcp", a.dns[addr("100.96.0.1")].String())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	a.stop()
	if got := a.ask("100.96.0.1", "a.apitest.internal", "A"); !strings.Contains(got, "refused") {
		t.Errorf("got %s", got)
	}
}

// slowResolver takes names when it is let to.
type slowResolver struct {
	netcfg.FakeResolver
	let chan struct{}
}

func (r *slowResolver) Set(ctx context.Context, n netcfg.Names) (netcfg.Resolution, error) {
	select {
	case <-r.let:
	case <-ctx.Done():
	}
	return r.FakeResolver.Set(ctx, n)
}

func TestResolverThatTakesItsTime(t *testing.T) {
	m := newMachine(t, "a")
	slow := &slowResolver{let: make(chan struct{})}
	m.config.Resolver = slow
	d := m.start(newHub(t).Join().String())
	if s := d.awaitState(localapi.Running); s.DNS.Mode != localapi.DNSPending {
		t.Errorf("got mode %q while the host is being told", s.DNS.Mode)
	}
	close(slow.let)
	await(t, "the host's names", func() bool { return d.Status().DNS.Mode == "hosts" })
}

func TestZonePortTaken(t *testing.T) {
	m := newMachine(t, "a")
	m.setDNS("100.96.0.1", busy)
	d := m.start(newHub(t).Join().String())
	d.awaitState(localapi.Running)
	await(t, "a health line", func() bool {
		s := d.Status()
		return len(s.Health) == 1 && strings.Contains(s.Health[0], "names of the mesh") && s.DNS.Server == "fd00:6d65:7368::1"
	})
	d.awaitAnswer("fd00:6d65:7368::1", "a.apitest.internal", "A", "100.96.0.1")
}

func TestZoneOff(t *testing.T) {
	m := newMachine(t, "a")
	m.config.DNS = "off"
	d := m.start(newHub(t).Join().String())
	if s := d.awaitState(localapi.Running); !reflect.DeepEqual(s.DNS, localapi.DNS{Zone: "apitest.internal", Mode: "off"}) {
		t.Errorf("got %+v", s.DNS)
	}
	if m.resolver.Names() != nil {
		t.Error("the host was told names")
	}
	if got := m.ask("100.96.0.1", "a.apitest.internal", "A"); got != "nobody answers" {
		t.Errorf("got %s", got)
	}
}

func TestMayAsk(t *testing.T) {
	may := mayAsk([]netip.Prefix{prefix("100.96.0.0/16"), prefix("fd00:1::/48")})
	for src, want := range map[string]dnssd.Access{
		"100.96.3.4": dnssd.Full, "fd00:1::7": dnssd.Full, "127.0.0.1": dnssd.Full, "::1": dnssd.Full,
		"100.97.0.1": dnssd.Refuse, "192.168.1.5": dnssd.Refuse, "fd00:2::7": dnssd.Refuse, "2001:db8::1": dnssd.Refuse,
	} {
		if got := may(netip.AddrPortFrom(addr(src), 40000), "nas", true); got != want {
			t.Errorf("%s: got access %v, want %v", src, got, want)
		}
	}
}

func TestZoneFollowsAddresses(t *testing.T) {
	m := newMachine(t, "a")
	first := &Netmap{
		Self: Self{Name: "a", Addresses: []netip.Addr{addr("100.96.0.1")}},
		Mesh: Mesh{Zone: "home.internal", Prefixes: []netip.Prefix{prefix("100.96.0.0/16")}},
	}
	n := &names{log: m.config.Log, listen: m.listenDNS, news: newLatest[namesNews](), answers: make(map[netip.Addr]*task), host: newHostNames(m.resolver, "meshd0")}
	n.take(first, punch.Local{}, nil)
	n.task = start(t.Context(), n.run)
	defer n.stop()
	m.awaitAnswer("100.96.0.1", "a.home.internal", "A", "100.96.0.1")

	t.Log("the mesh moves: the old address answers no more, the new one does, for the same name")
	second := *first
	second.Self.Addresses, second.Mesh.Prefixes = []netip.Addr{addr("10.7.0.1")}, []netip.Prefix{prefix("10.7.0.0/16")}
	n.take(&second, punch.Local{}, nil)
	m.awaitAnswer("10.7.0.1", "a.home.internal", "A", "10.7.0.1")
	if got := m.ask("100.96.0.1", "a.home.internal", "A"); !strings.Contains(got, "refused") {
		t.Errorf("the old address says %s", got)
	}

	t.Log("the zone gets another name, and what punch learns of this member is told")
	third := second
	third.Mesh.Zone = "villa.internal"
	n.take(&third, punch.Local{Candidates: []wire.Candidate{{Kind: wire.Reflexive, Addr: addrPort("203.0.113.9:2000")}}}, nil)
	m.awaitAnswer("10.7.0.1", "a.villa.internal", "A", "10.7.0.1")
	m.awaitAnswer("10.7.0.1", dnssd.InstanceLabel(Key{})+"._wireguard._udp.villa.internal", "A", "203.0.113.9")

	t.Log("a zone whose name is none takes nothing down, and is told")
	fourth := third
	fourth.Mesh.Zone = ".."
	n.take(&fourth, punch.Local{}, nil)
	await(t, "an error", func() bool {
		var s localapi.Status
		n.status(&s)
		return s.DNS.Error != "" && s.DNS.Server == ""
	})
	n.take(&third, punch.Local{}, nil)
	m.awaitAnswer("10.7.0.1", "a.villa.internal", "A", "10.7.0.1")
}
