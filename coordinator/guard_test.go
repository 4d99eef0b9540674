package coordinator

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"

	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/coordinator/api/meshd/v1/meshdv1connect"
)

func TestStrangersHaveFewPlaces(t *testing.T) {
	g := newGuard(nil)
	home, office := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2")
	for range strangersPerSource {
		if !g.enter(home) {
			t.Fatal("refused too early")
		}
	}
	if g.enter(home) {
		t.Error("one source got more places than it may have")
	}
	if !g.enter(office) {
		t.Error("another source got none")
	}
	g.leave(home)
	if !g.enter(home) {
		t.Error("a place that was left is not free")
	}
	for range strangersPerSource {
		g.leave(home)
	}
	g.leave(office)
	if g.all != 0 || len(g.strangers) != 0 {
		t.Errorf("%d places taken by nobody: %v", g.all, g.strangers)
	}
}

func TestMembersNeedNoStrangersPlace(t *testing.T) {
	g := newGuard(nil)
	home := netip.MustParseAddr("203.0.113.1")
	g.enter(home)
	left := 0
	ctx := withGuarded(context.Background(), &guardedConn{source: home, leave: func() { left++; g.leave(home) }})
	if sourceOf(ctx) != home {
		t.Errorf("got %v, want %v", sourceOf(ctx), home)
	}
	admit(ctx)
	if left != 1 || g.all != 0 {
		t.Errorf("%d places taken after %d left", g.all, left)
	}
}

func TestSources(t *testing.T) {
	for _, c := range []struct{ addr, want string }{
		{"203.0.113.1:5", "203.0.113.1"},
		{"[::ffff:203.0.113.1]:5", "203.0.113.1"},
		{"[2001:db8:1:2:3:4:5:6]:7", "2001:db8:1:2::"}, // whoever has one address there has all
		{"[fe80::1%eth0]:7", "fe80::"},
	} {
		addr := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.addr))
		if got := sourceAddr(addr); got.String() != c.want {
			t.Errorf("%s: got %v, want %s", c.addr, got, c.want)
		}
	}
}

// TestEveryMethodHasItsRight fails when a method is added without a thought
// about who may call it.
func TestEveryMethodHasItsRight(t *testing.T) {
	services := meshdv1.File_meshd_v1_control_proto.Services()
	seen := 0
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			procedure := "/" + string(services.Get(i).FullName()) + "/" + string(methods.Get(j).Name())
			if rights[procedure] == 0 {
				t.Errorf("%s is for nobody", procedure)
			}
			if services.Get(i).FullName() == meshdv1connect.AdminServiceName && rights[procedure] != owner {
				t.Errorf("%s is not for the owner alone", procedure)
			}
			seen++
		}
	}
	if seen != len(rights) {
		t.Errorf("%d rights for %d methods", len(rights), seen)
	}
}

func TestPublicHosts(t *testing.T) {
	listen := &net.TCPAddr{IP: net.ParseIP("10.0.0.1"), Port: 8443}
	for _, c := range []struct {
		told  []string
		hosts []string
		port  uint16
	}{
		{nil, []string{"10.0.0.1"}, 8443},
		{[]string{"hub.example"}, []string{"hub.example"}, 8443},
		{[]string{"hub.example:443", "203.0.113.9"}, []string{"hub.example", "203.0.113.9"}, 443},
		{[]string{"2001:db8::1", "[2001:db8::2]:443", "[2001:db8::3]"}, []string{"2001:db8::1", "2001:db8::2", "2001:db8::3"}, 443},
	} {
		hosts, port, err := publicHosts(c.told, listen)
		if err != nil || port != c.port || !slices.Equal(hosts, c.hosts) {
			t.Errorf("%v: got %v %d, %v, want %v %d", c.told, hosts, port, err, c.hosts, c.port)
		}
	}
	for _, bad := range []string{"", "hub:", "hub:0", "hub:99999", "hub:https", ":443", "https://hub", "a b", "[::1", "[::1]:x", "hub/x"} {
		if hosts, _, err := publicHosts([]string{bad}, listen); err == nil {
			t.Errorf("%q: got %v, want an error", bad, hosts)
		}
	}
}

func TestRelayAddresses(t *testing.T) {
	parse := func(addrs ...string) (parsed []netip.AddrPort) {
		for _, a := range addrs {
			parsed = append(parsed, netip.MustParseAddrPort(a))
		}
		return parsed
	}
	for _, c := range []struct{ bound, want []string }{
		{[]string{"0.0.0.0:3478", "0.0.0.0:3479", "[::]:3478", "[::]:3479"}, []string{":3478", ":3479"}},
		{[]string{"10.0.0.1:3478", "10.0.0.1:3479"}, []string{":3478", ":3479"}}, // behind a 1:1 NAT, maybe
		{[]string{"203.0.113.1:3478", "203.0.113.2:3478"}, []string{"203.0.113.1:3478", "203.0.113.2:3478"}},
	} {
		if got := relayAddrs(parse(c.bound...)); !slices.Equal(got, c.want) {
			t.Errorf("%v: got %v, want %v", c.bound, got, c.want)
		}
	}
}
