package netcfg

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"meshd/agent/netcfg/nstest"
)

func TestGatewaysOfHost(t *testing.T) {
	h := New(nil)
	expect := func(want ...Gateway) {
		t.Helper()
		await(t, func() string {
			got, err := h.Gateways()
			if err == nil && slices.Equal(got, want) {
				return ""
			}
			return fmt.Sprintf("got %v, %v, want %v", got, err, want)
		})
	}
	do := func(lines ...string) {
		t.Helper()
		for _, args := range lines {
			nstest.IP(t, args)
		}
	}
	gateway := func(addr, local string) Gateway {
		return Gateway{netip.MustParseAddr(addr), netip.MustParseAddr(local)}
	}
	expect()

	t.Log("A cable, and a wireless link that is worse.")
	nstest.Veth(t, "lan")
	nstest.Veth(t, "wlan")
	do("addr add 192.168.1.7/24 dev lan", "addr add 10.1.0.7/24 dev wlan", "addr add 10.2.0.7/24 dev wlan", "addr add 2001:db8::7/64 dev lan nodad",
		"route add default via 192.168.1.1 metric 100", "route add default via 10.2.0.1 metric 600", "route add default via fe80::1 dev lan")
	four, six := gateway("192.168.1.1", "192.168.1.7"), gateway("fe80::1%lan", "2001:db8::7")
	expect(four, six)

	t.Log("The cable's route goes.")
	do("route del default via 192.168.1.1 metric 100", "-6 route del default via fe80::1 dev lan")
	expect(gateway("10.2.0.1", "10.2.0.7"))

	t.Log("Two ways at once: the first one.")
	do("route del default via 10.2.0.1 metric 600", "route add default nexthop via 192.168.1.1 dev lan nexthop via 10.1.0.1 dev wlan")
	expect(four)

	t.Log("A VPN takes everything.")
	newMesh(t, "vpn0")
	do("addr add 10.9.0.2/24 dev vpn0", "link set vpn0 up", "route add 0.0.0.0/1 dev vpn0", "route add 128.0.0.0/1 dev vpn0")
	expect()
}
