package netcfg

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestUsableLinks(t *testing.T) {
	for _, test := range []struct {
		link link
		want bool
	}{
		{link{name: "eth0", kind: "device", running: true}, true},
		{link{name: "eth0", kind: "device"}, false}, // no carrier
		{link{name: "lo", kind: "device", running: true, loopback: true}, false},
		{link{name: "wlp3s0", kind: "device", running: true}, true},
		{link{name: "eth0", kind: "veth", running: true}, true}, // inside of a container
		{link{name: "veth12ab34", kind: "veth", running: true}, false},
		{link{name: "br0", kind: "bridge", running: true}, true}, // a LAN
		{link{name: "bridge0", kind: "bridge", running: true}, true},
		{link{name: "br-5d3f1c2a9b7e", kind: "bridge", running: true}, false},
		{link{name: "docker0", kind: "bridge", running: true}, false},
		{link{name: "virbr0", kind: "bridge", running: true}, false},
		{link{name: "cni0", kind: "bridge", running: true}, false},
		{link{name: "podman1", kind: "bridge", running: true}, false},
		{link{name: "tailscale0", kind: "tuntap", running: true}, false},
		{link{name: "wg0", kind: "wireguard", running: true}, false},
		{link{name: "eth0.7", kind: "vlan", running: true}, true},
		{link{name: "bond0", kind: "bond", running: true}, true},
		{link{name: "ppp0", kind: "ppp", running: true}, true}, // DSL
	} {
		if got := test.link.usable(); got != test.want {
			t.Errorf("%+v: usable %v, want %v", test.link, got, test.want)
		}
	}
}

func TestUsableAddresses(t *testing.T) {
	for _, test := range []struct {
		prefix string
		fading bool
		want   bool
	}{
		{"192.168.1.7/24", false, true},
		{"203.0.113.9/32", false, true},
		{"169.254.3.4/16", false, false},
		{"127.0.0.1/8", false, false},
		{"224.0.0.1/4", false, false},
		{"2001:db8::7/64", false, true},
		{"2001:db8::7/64", true, false},
		{"fd12::7/64", false, true}, // unique local
		{"fe80::1/64", false, false},
		{"::1/128", false, false},
	} {
		a := address{prefix: netip.MustParsePrefix(test.prefix), fading: test.fading}
		if got := a.usable(); got != test.want {
			t.Errorf("%+v: usable %v, want %v", a, got, test.want)
		}
	}
}

func TestOverlap(t *testing.T) {
	used := []taken{
		{netip.MustParsePrefix("0.0.0.0/0"), "eth0"},
		{netip.MustParsePrefix("128.0.0.0/1"), "tun0"},
		{netip.MustParsePrefix("192.168.1.0/24"), "eth0"},
		{netip.MustParsePrefix("10.0.0.0/8"), "wg0"},
		{netip.MustParsePrefix("100.96.0.7/32"), "meshd0"},
		{netip.MustParsePrefix("fd00::/48"), "eth0"},
	}
	for _, test := range []struct{ prefix, want string }{
		{"100.96.0.0/16", ""}, // only our own is there
		{"192.168.0.0/16", "192.168.1.0/24 on eth0"},
		{"192.168.1.128/25", "192.168.1.0/24 on eth0"},
		{"10.7.0.0/16", "10.0.0.0/8 on wg0"},
		{"fd00::/8", "fd00::/48 on eth0"},
		{"fd01::/48", ""},
	} {
		got, found := overlap(netip.MustParsePrefix(test.prefix), used, "meshd0")
		if found != (test.want != "") || found && got.String() != test.want {
			t.Errorf("%s overlaps %v (%v), want %q", test.prefix, got, found, test.want)
		}
	}
}

func TestDifference(t *testing.T) {
	for _, test := range []struct{ have, want, add, remove []int }{
		{nil, nil, nil, nil},
		{[]int{1, 2}, []int{2, 1}, nil, nil},
		{[]int{1, 2}, []int{2, 3, 3}, []int{3}, []int{1}},
		{nil, []int{1}, []int{1}, nil},
		{[]int{1}, nil, nil, []int{1}},
	} {
		add, remove := difference(test.have, test.want)
		if !slices.Equal(add, test.add) || !slices.Equal(remove, test.remove) {
			t.Errorf("%v to %v: add %v remove %v, want %v and %v", test.have, test.want, add, remove, test.add, test.remove)
		}
	}
}

func TestJump(t *testing.T) {
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct{ wall, mono, want time.Duration }{
		"awake":            {5 * time.Second, 5 * time.Second, 0},
		"busy":             {60 * time.Second, 60 * time.Second, 0},
		"adjusted a bit":   {9 * time.Second, 5 * time.Second, 0},
		"slept for a hour": {time.Hour, 5 * time.Second, time.Hour - 5*time.Second},
		"set back a day":   {-24 * time.Hour, 5 * time.Second, -24*time.Hour - 5*time.Second},
	} {
		if got := jump(instant{noon, 0}, instant{noon.Add(test.wall), test.mono}); got != test.want {
			t.Errorf("%s: jump %v, want %v", name, got, test.want)
		}
	}
}

func TestClockReadsBoth(t *testing.T) {
	start := time.Now()
	a := clock(start)
	b := clock(start)
	if b.mono < a.mono || b.wall.Sub(a.wall) > time.Minute || jump(a, b) != 0 {
		t.Errorf("got %v then %v", a, b)
	}
}

func TestWayChange(t *testing.T) {
	home := way{[]netip.Prefix{netip.MustParsePrefix("192.168.1.7/24")}, []string{"default via A"}}
	both := way{append(slices.Clone(home.addresses), netip.MustParsePrefix("10.0.0.7/24")), home.defaults}
	for _, test := range []struct {
		from, to way
		want     string
	}{
		{home, home, ""},
		{home, both, "address 10.0.0.7/24 is new"},
		{both, home, "address 10.0.0.7/24 is gone"},
		{home, way{home.addresses, nil}, "route default via A is gone"},
		{home, way{home.addresses, []string{"default via B"}}, "route default via B is new"},
	} {
		if got := test.from.change(test.to); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

func TestFake(t *testing.T) {
	var f Fake
	f.AddRoute(netip.MustParsePrefix("10.0.0.0/8"), "eth0")
	if what, found, err := f.Overlap(netip.MustParsePrefix("10.1.0.0/16"), "meshd0"); !found || what != "10.0.0.0/8 on eth0" || err != nil {
		t.Errorf("overlap: %q %v %v", what, found, err)
	}
	if err := f.Configure("meshd0", Config{MTU: 1400}); err != nil {
		t.Error(err)
	}
	if c, ok := f.Configured("meshd0"); !ok || c.MTU != 1400 {
		t.Errorf("configured: %+v %v", c, ok)
	}
}
