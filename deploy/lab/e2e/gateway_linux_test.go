package e2e

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
	"meshd/punch/nattest"
)

// between are the two homes of most scenes.
var between = [2]netip.Addr{mesh.HomeAAddr, mesh.HomeBAddr}

// TestGatewaysThatTakePacketsForTheirOwn is about Linux gateways. One whose INPUT
// accepts keeps track of a packet that no flow lets in, and then gives the flow from
// inside another port.
func TestGatewaysThatTakePacketsForTheirOwn(t *testing.T) {
	for _, input := range [][2]string{{"accept", "accept"}, {"accept", "drop"}, {"reject", "accept"}, {"reject", "reject"}, {"reject", "drop"}} {
		t.Run(input[0]+" and "+input[1], func(t *testing.T) {
			s := newScene(t)
			_, _, alice, bob := s.homes(lab.Gateway{Input: input[0]}, lab.Gateway{Input: input[1]})
			s.join(alice, bob)
			s.direct(alice, bob)
			s.carries(alice, bob, between)

			t.Log("Again, and the other one begins.")
			must(t, bob.Down(t.Context()))
			must(t, alice.Down(t.Context()))
			_, err := bob.Up(t.Context())
			must(t, err)
			_, err = alice.Up(t.Context())
			must(t, err)
			s.direct(alice, bob)
			s.carries(alice, bob, between)
		})
	}
}

// denyAll is what ufw and firewalld do out of the box.
const denyAll = `nft -f - <<'END'
table inet host {
	chain input {
		type filter hook input priority 0; policy drop;
		iif lo accept
		ct state established,related accept
		iifname "meshd*" accept
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
	}
}
END`

func TestHostsThatLetNobodyIn(t *testing.T) {
	s := newScene(t)
	home, _, alice, bob := s.homes(lab.Gateway{LAN6: lan6(1)}, lab.Gateway{LAN6: lan6(2)})
	nas := s.host(home, "nas")
	for _, a := range []*mesh.Agent{alice, bob, nas} {
		must(t, a.Host.Shell(denyAll))
	}
	t.Log("Hosts whose own firewalls let in only what they asked for: direct, from home to home and on the LAN.")
	s.join(alice, bob, nas)
	s.direct(alice, bob)
	s.carries(alice, bob, between, [2]netip.Addr{host6(1), host6(2)})
	s.direct(alice, nas)
	s.carries(alice, nas)
}

func TestGatewaysOfShortMemory(t *testing.T) {
	s := newScene(t)
	_, bob := s.home("bob", mesh.HomeBAddr, lab.Gateway{})
	s.join(bob)
	short := nattest.PortRestricted
	short.Lifetime = 20 * time.Second
	oneWay := short
	oneWay.OutboundOnly = true // what comes in keeps no mapping alive
	publics := make(map[*mesh.Agent]netip.Addr)
	add := func(name string, nat nattest.NAT) *mesh.Agent {
		public := netip.AddrFrom4([4]byte{198, 51, 100, byte(110 + len(publics))})
		_, a := s.home(name, public, lab.Gateway{Translate: []nattest.NAT{nat}})
		publics[a] = public
		s.join(a)
		s.direct(a, bob)
		return a
	}
	alice, carol, dave := add("alice", short), add("carol", oneWay), add("dave", short)

	t.Log("Nothing is said for a while, longer than the gateways remember. Dave even sleeps, and wakes up. Then Bob speaks first.")
	asleep, err := dave.PID()
	must(t, err)
	must(t, syscall.Kill(asleep, syscall.SIGSTOP))
	quiet(t, 26*time.Second)
	must(t, syscall.Kill(asleep, syscall.SIGCONT))
	for _, a := range []*mesh.Agent{dave, alice, carol} {
		at := time.Now()
		must(t, bob.AwaitPing(t.Context(), bearable, a.Host.Name))
		t.Logf("%s answered after %v", a.Host.Name, time.Since(at).Round(time.Millisecond))
	}
	for _, a := range []*mesh.Agent{alice, carol, dave} {
		s.direct(a, bob)
		s.carries(a, bob, [2]netip.Addr{publics[a], mesh.HomeBAddr})
	}
}

// quiet lets time pass: what a story is about is that nothing happens.
func quiet(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

func TestGatewayRebootsUnderTraffic(t *testing.T) {
	s := newScene(t)
	near, far, alice, bob := s.homes(lab.Gateway{Translate: []nattest.NAT{nattest.PortRestricted}}, lab.Gateway{Translate: []nattest.NAT{nattest.PortRestricted}})
	s.join(alice, bob)
	s.direct(alice, bob)
	for what, sites := range map[string][]*lab.Site{"near": {near}, "far": {far}, "both": {near, far}} {
		stream := s.stream(alice, bob)
		t.Logf("All mappings are lost: %s. From now on there are other ports.", what)
		for _, site := range sites {
			must(t, site.ForgetMappings())
		}
		s.carries(alice, bob, between)
		s.direct(alice, bob)
		stream.bears("mappings lost: " + what)
	}
}

// TestRebootAmongGatewaysThatTakePackets: what comes from a new mapping finds no flow
// at a gateway that accepts, and takes the ports from the flow that would let it in.
func TestRebootAmongGatewaysThatTakePackets(t *testing.T) {
	for name, far := range map[string]lab.Gateway{
		"the far one accepts":     {Input: "accept"},
		"the far one draws ports": {Translate: []nattest.NAT{nattest.PortRestricted}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			_, site, alice, bob := s.homes(lab.Gateway{Input: "accept"}, far)
			s.join(alice, bob)
			s.direct(alice, bob)
			stream := s.stream(alice, bob)
			t.Log("The far gateway reboots, and the near one takes for its own what comes then.")
			must(t, site.ForgetMappings())
			start := time.Now()
			s.carries(alice, bob, between)
			t.Logf("direct within %v", time.Since(start).Round(time.Millisecond))
			s.direct(alice, bob)
			stream.bears("mappings lost")
		})
	}
}

// ownerOpens makes the gateway send what nobody asked for to a host.
const ownerOpens = `
add rule ip gateway forward ct status dnat accept
table ip forwarded {
	chain prerouting {
		type nat hook prerouting priority -100;
		iifname wan0 udp dport 41641 dnat to 192.168.1.2:41641
	}
}`

// everything is a "DMZ host", as routers call it.
const everything = `
add rule ip gateway forward ct status dnat accept
table ip forwarded {
	chain prerouting {
		type nat hook prerouting priority -100;
		iifname wan0 meta l4proto udp dnat to 192.168.1.2
	}
}`

func TestForwardThatNobodyToldOf(t *testing.T) {
	for name, rules := range map[string]string{"port": ownerOpens, "everything": everything} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			home, _, alice, bob := s.homes(lab.Gateway{NAT: lab.Symmetric}, lab.Gateway{NAT: lab.Symmetric})
			must(t, home.Gateway.Forward(rules))
			t.Log("Both gateways draw ports at random, but one sends strangers to its host: the other guesses that it might, and is right.")
			_, err := alice.Up(t.Context(), key(t, s.World, "--approved"), "--port", "41641")
			must(t, err)
			s.join(bob)
			s.direct(alice, bob)
			s.carries(alice, bob, between)
			p, err := bob.Peer(t.Context(), "alice")
			must(t, err)
			if want := netip.AddrPortFrom(mesh.HomeAAddr, 41641).String(); p.Endpoint != want {
				t.Errorf("bob reaches alice at %s, want %s", p.Endpoint, want)
			}
		})
	}
}
