package e2e

import (
	"net/netip"
	"testing"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// Public addresses of the cafés where the hosts of the two homes have a second
// network interface.
var cafes = [2]netip.Addr{netip.MustParseAddr("198.51.100.110"), netip.MustParseAddr("198.51.100.120")}

func TestMovingBetweenNetworks(t *testing.T) {
	s := newScene(t)
	homeA, homeB, alice, bob := s.homes(lab.Gateway{}, lab.Gateway{})
	agents, homes := [2]*mesh.Agent{alice, bob}, [2]*lab.Site{homeA, homeB}
	var cafe [2]*lab.Site
	for i, name := range []string{"cafe-a", "cafe-b"} {
		cafe[i] = s.site(name, lab.Gateway{Public: cafes[i], LAN: netip.MustParsePrefix("10.20.0.0/24"), NAT: lab.PortRestricted, Link: access})
		must(t, cafe[i].Plug(agents[i].Host, "wlan0"))
	}
	s.join(alice, bob)
	s.direct(alice, bob)

	t.Log("Alice's traffic moves to the other network. Her old interface stays up, and its network works.")
	stream := s.stream(alice, bob)
	must(t, cafe[0].Route(alice.Host, "wlan0"))
	s.carries(alice, bob, [2]netip.Addr{cafes[0], mesh.HomeBAddr})
	s.direct(alice, bob)
	stream.bears("alice moves")

	t.Log("She moves back as the café's network dies. The interface stays up.")
	stream = s.stream(alice, bob)
	must(t, s.Lab.Drop("ip saddr "+cafes[0].String()))
	must(t, s.Lab.Drop("ip daddr "+cafes[0].String()))
	must(t, homeA.Route(alice.Host, "eth0"))
	s.carries(alice, bob, between)
	s.direct(alice, bob)
	stream.bears("alice's network dies and she moves")

	t.Log("Both move at once: Alice gets another address at home, Bob goes to the café.")
	stream = s.stream(alice, bob)
	must(t, alice.Host.Readdress(netip.MustParseAddr("192.168.1.77")))
	must(t, cafe[1].Route(bob.Host, "wlan0"))
	s.carries(alice, bob, [2]netip.Addr{mesh.HomeAAddr, cafes[1]})
	s.direct(alice, bob)
	stream.bears("both move")

	t.Log("And Bob goes home while his home's gateway forgets its mappings.")
	stream = s.stream(alice, bob)
	must(t, homes[1].ForgetMappings())
	must(t, homes[1].Route(bob.Host, "eth0"))
	s.carries(alice, bob, between)
	s.direct(alice, bob)
	stream.bears("bob moves home")
}
