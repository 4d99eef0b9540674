package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
	"meshd/punch/nattest"
)

func TestSameAddressesAtHomeAndElsewhere(t *testing.T) {
	s := newScene(t)
	home, laptop := s.home("laptop", mesh.HomeAAddr, lab.Gateway{})
	nas := s.host(home, "nas")
	away, other := s.home("other", mesh.HomeBAddr, lab.Gateway{})
	tv := s.host(away, "tv") // has the address there that the nas has at home

	t.Log("Two hosts of one home meet on its LAN, although elsewhere others have the same two addresses.")
	s.join(laptop, nas, other, tv)
	for _, pair := range [][2]*mesh.Agent{{laptop, nas}, {other, tv}} {
		s.direct(pair[0], pair[1])
		s.carries(pair[0], pair[1])
		p, err := pair[0].Peer(t.Context(), pair[1].Host.Name)
		must(t, err)
		if at, err := netip.ParseAddrPort(p.Endpoint); err != nil || at.Addr() != netip.MustParseAddr("192.168.1.3") {
			t.Errorf("%s reaches %s at %s, want its address on the LAN", pair[0].Host.Name, p.Name, p.Endpoint)
		}
	}

	t.Log("And those who share an address meet each other through the two NATs.")
	for _, pair := range [][2]*mesh.Agent{{laptop, other}, {nas, tv}, {laptop, tv}} {
		s.direct(pair[0], pair[1])
		s.carries(pair[0], pair[1], [2]netip.Addr{mesh.HomeAAddr, mesh.HomeBAddr})
	}
}

func TestTwoNetworksBehindOneGateway(t *testing.T) {
	s := newScene(t)
	for i, hairpin := range []bool{true, false} {
		nat := nattest.PortRestricted
		nat.Hairpin = hairpin
		name := fmt.Sprintf("office%d", i)
		first, desk := s.home(name, netip.AddrFrom4([4]byte{198, 51, 100, byte(10 + i)}), lab.Gateway{Translate: []nattest.NAT{nat}})
		second, err := first.VLAN("lan1", netip.MustParsePrefix("192.168.2.0/24"))
		must(t, err)
		camera := s.host(second, fmt.Sprintf("camera%d", i))
		s.join(desk, camera)
		must(t, desk.AwaitPing(t.Context(), patience, camera.Host.Name))
		if hairpin {
			t.Log("A gateway that keeps two networks apart, but turns what is for its own public address: direct by that.")
			s.direct(desk, camera)
			s.carries(desk, camera)
		} else {
			t.Log("One that does not: by the hub.")
			s.relayed(desk, camera)
			must(t, desk.AwaitPath(t.Context(), patience, camera.Host.Name, "relay"))
		}
	}
}

func TestSiblingsBehindACarrier(t *testing.T) {
	s := newScene(t)
	for i, hairpin := range []bool{true, false} {
		nat := nattest.Carrier
		nat.Hairpin = hairpin
		carrier := s.site(fmt.Sprintf("carrier%d", i), lab.Gateway{
			Public: netip.AddrFrom4([4]byte{198, 51, 100, byte(10 + i)}), LAN: netip.MustParsePrefix("100.64.0.0/24"),
			Translate: []nattest.NAT{nat}, Link: access, Isolated: true,
		})
		var phones []*mesh.Agent
		for _, name := range []string{"left", "right"} {
			home, err := carrier.Site(fmt.Sprintf("%s-home%d", name, i), lab.Gateway{LAN: homeLAN, NAT: lab.PortRestricted})
			must(t, err)
			phones = append(phones, s.host(home, fmt.Sprintf("%s%d", name, i)))
		}
		s.join(phones...)
		must(t, phones[0].AwaitPing(t.Context(), patience, phones[1].Host.Name))
		if hairpin {
			t.Log("Two homes behind one carrier-grade NAT that turns packets, as RFC 6888 wants it: direct.")
			s.direct(phones[0], phones[1])
			s.carries(phones[0], phones[1])
		} else {
			t.Log("One that does not: by the hub.")
			s.relayed(phones[0], phones[1])
			must(t, phones[0].AwaitPath(t.Context(), patience, phones[1].Host.Name, "relay"))
		}
	}
}
