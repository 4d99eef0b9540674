package netcfg

import (
	"net/netip"
	"reflect"
	"testing"
)

func TestInterfaces(t *testing.T) {
	links := map[int]link{
		1: {index: 1, name: "lo", running: true, loopback: true},
		2: {index: 2, name: "wlan0", kind: "device", running: true, lan: true},
		3: {index: 3, name: "eth0", kind: "device", running: true, lan: true},
		4: {index: 4, name: "docker0", kind: "bridge", running: true, lan: true},
		5: {index: 5, name: "meshd0", kind: "tuntap", running: true},
		6: {index: 6, name: "ppp0", kind: "ppp", running: true}, // one neighbour only
		7: {index: 7, name: "eth1", kind: "device", lan: true},  // no carrier
		8: {index: 8, name: "eth2", kind: "device", running: true, lan: true},
	}
	at := func(link int, p string) address { return address{link: link, prefix: netip.MustParsePrefix(p)} }
	all := []address{
		at(1, "127.0.0.1/8"), at(2, "192.168.2.7/24"), at(3, "2001:db8::7/64"), at(3, "192.168.1.7/24"), at(3, "fe80::1/64"),
		at(4, "172.17.0.1/16"), at(5, "100.96.0.1/32"), at(6, "203.0.113.7/32"), at(7, "192.168.3.7/24"), at(8, "fe80::2/64"),
		{link: 2, prefix: netip.MustParsePrefix("2001:db8:2::7/64"), fading: true},
	}
	addrs := func(list ...string) (a []netip.Addr) {
		for _, s := range list {
			a = append(a, netip.MustParseAddr(s))
		}
		return a
	}
	want := []Interface{{"eth0", addrs("192.168.1.7", "2001:db8::7")}, {"wlan0", addrs("192.168.2.7")}}
	if got := interfaces(links, all); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
