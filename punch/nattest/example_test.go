package nattest_test

import (
	"fmt"
	"net/netip"
	"time"

	"meshd/punch/nattest"
)

// Two hosts whose gateways filter by address and port open for each other: the first
// packet is dropped at the far gateway, but it has opened its own.
func Example() {
	n := nattest.New(nattest.Config{Seed: 1})
	defer n.Close()
	link := nattest.Link{Delay: time.Millisecond}
	a, _ := n.Place(link, nattest.Linux)
	b, _ := n.Place(link, nattest.Linux)

	one, _ := a.Listen(netip.MustParseAddrPort("0.0.0.0:41641"))
	two, _ := b.Listen(netip.MustParseAddrPort("0.0.0.0:41641"))
	publicA, publicB := netip.MustParseAddrPort("198.18.0.1:41641"), netip.MustParseAddrPort("198.18.0.2:41641")

	_ = one.WriteTTL([]byte("opener"), publicB, 5) // dies in the core
	_ = two.Write([][]byte{[]byte("hello")}, publicA)

	buf, sizes, from := make([]byte, 1500), make([]int, 1), make([]netip.AddrPort, 1)
	_, err := one.Read([][]byte{buf}, sizes, from)
	fmt.Printf("%s from %v, error: %v\n", buf[:sizes[0]], from[0], err)
	fmt.Println("direct:", n.Delivered(b, a).Packets, "dropped:", n.Dropped())
	// Output:
	// hello from 198.18.0.2:41641, error: <nil>
	// direct: 1 dropped: map[ttl:1]
}

// A home with a NAT for IPv4 and a stateful firewall for IPv6, in which two hosts live.
func ExampleSegment_Site() {
	n := nattest.New(nattest.Config{})
	defer n.Close()
	home := n.Site(nattest.Gateway{
		Public:   []netip.Addr{netip.MustParseAddr("203.0.113.7")},
		NAT:      nattest.PortRestricted,
		Routed:   []netip.Prefix{netip.MustParsePrefix("2001:db8:7::/48")},
		Firewall: &nattest.Filter{Filtering: nattest.AddressAndPortDependent},
	}, nattest.Link{Delay: 10 * time.Millisecond, Loss: 0.01})

	nas := home.Host(nattest.LAN, netip.MustParsePrefix("192.168.1.2/24"), netip.MustParsePrefix("2001:db8:7::2/64"))
	laptop := home.Host(nattest.LAN, netip.MustParsePrefix("192.168.1.3/24"))
	fmt.Println(nas.Interfaces())
	fmt.Println(laptop.Addr())
	// Output:
	// [192.168.1.2/24 2001:db8:7::2/64] <nil>
	// 192.168.1.3
}

// A carrier's NAT above a home's: sites nest. Presets are values, and a copy may be
// changed.
func ExampleNet_Place() {
	n := nattest.New(nattest.Config{})
	defer n.Close()
	strict := nattest.Carrier
	strict.Lifetime = 20 * time.Second
	strict.Table = 1000
	phone, gateways := n.Place(nattest.Link{Delay: 40 * time.Millisecond, Jitter: 20 * time.Millisecond}, nattest.Linux, strict)
	gateways[1].Reboot() // the carrier's
	fmt.Println(phone.Addr(), len(gateways))
	// Output: 192.168.1.3 2
}
