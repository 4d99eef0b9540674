package netcfg

import (
	"net/netip"
	"slices"
	"testing"
)

func TestGateways(t *testing.T) {
	links := map[int]link{
		1: {index: 1, name: "eth0", kind: "device", running: true},
		2: {index: 2, name: "wlan0", kind: "device", running: true},
		3: {index: 3, name: "wg0", kind: "wireguard", running: true},
		4: {index: 4, name: "down0", kind: "device"},
	}
	on := func(link int, prefix string) address {
		return address{link: link, prefix: netip.MustParsePrefix(prefix)}
	}
	temporary := func(a address) address { a.temporary = true; return a }
	fading := func(a address) address { a.fading = true; return a }
	via := func(link int, gateway string) hop {
		a := netip.MustParseAddr(gateway)
		return hop{link: link, gateway: a, v6: a.Is6()}
	}
	metric := func(n int, h hop) hop { h.priority = n; return h }
	half := func(h hop) hop { h.half = true; return h }
	home := []address{on(1, "192.168.1.7/24"), on(2, "192.168.1.8/24"), on(3, "10.9.0.2/24"), on(4, "10.0.0.1/24")}
	six := func(a ...address) []address { return append(a, on(1, "fe80::7/64"), on(2, "2001:db8:9::7/64")) }

	for _, test := range []struct {
		name      string
		hops      []hop
		addresses []address
		want      []string // "gateway local"
	}{
		{"none", nil, home, nil},
		{"one", []hop{via(1, "192.168.1.1")}, home, []string{"192.168.1.1 192.168.1.7"}},
		{"the lowest metric", []hop{metric(600, via(2, "192.168.1.1")), metric(100, via(1, "192.168.1.1"))}, home, []string{"192.168.1.1 192.168.1.7"}},
		{"a tunnel is the way", []hop{metric(600, via(1, "192.168.1.1")), {link: 3, priority: 50}}, home, nil},
		{"two halves lead into a tunnel", []hop{via(1, "192.168.1.1"), half(metric(9, via(3, "10.9.0.1")))}, home, nil},
		{"no carrier", []hop{via(4, "10.0.0.254")}, home, nil},
		{"a link without a router", []hop{{link: 1}}, home, nil},
		{"a link that is gone", []hop{via(9, "192.168.1.1")}, home, nil},
		{"a router outside of the subnet", []hop{via(1, "172.31.1.1")}, []address{on(1, "203.0.113.7/32")}, []string{"172.31.1.1 203.0.113.7"}},
		{"in the subnet first", []hop{via(1, "10.1.0.1")}, []address{on(1, "192.168.1.7/24"), on(1, "10.1.0.7/16")}, []string{"10.1.0.1 10.1.0.7"}},
		{"no address", []hop{via(1, "192.168.1.1")}, []address{on(2, "192.168.1.8/24")}, nil},
		{"IPv6", []hop{via(1, "fe80::1")}, six(on(1, "2001:db8:1::7/64")), []string{"fe80::1%eth0 2001:db8:1::7"}},
		{"IPv6 without a global address", []hop{via(1, "fe80::1")}, six(), nil},
		{"an address that lasts", []hop{via(1, "fe80::1")}, six(temporary(on(1, "2001:db8:1::1/64")), on(1, "2001:db8:1::2/64")), []string{"fe80::1%eth0 2001:db8:1::2"}},
		{"the internet's before the site's", []hop{via(1, "fd07::1")}, six(on(1, "fd07::7/64"), on(1, "2001:db8:1::7/64")), []string{"fd07::1 2001:db8:1::7"}},
		{"not a deprecated one", []hop{via(1, "fe80::1")}, six(fading(on(1, "2001:db8:1::1/64")), temporary(on(1, "2001:db8:1::2/64"))), []string{"fe80::1%eth0 2001:db8:1::2"}},
		{"both families", []hop{via(1, "fe80::1"), via(1, "192.168.1.1")}, append(six(on(1, "2001:db8:1::7/64")), home...),
			[]string{"192.168.1.1 192.168.1.7", "fe80::1%eth0 2001:db8:1::7"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, g := range gateways(test.hops, links, test.addresses) {
				got = append(got, g.Addr.String()+" "+g.Local.String())
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
