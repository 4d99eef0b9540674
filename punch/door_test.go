package punch

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"meshd/punch/nattest"
	"meshd/punch/wire"
)

// denyAll is a firewall that lets in what belongs to something that the host began.
var denyAll = nattest.Filter{Filtering: nattest.AddressAndPortDependent, Unreplied: 30 * time.Second}

// addDenying starts an agent on a host with such a firewall, that searches for no ports.
func (w *world) addDenying(name string, door bool, nats ...nattest.NAT) *agent {
	host, _ := w.net.Place(access, nats...)
	host.SetFirewall(&denyAll)
	return w.start(name, host, func(c *Config) {
		c.BirthdayRate = -1
		if door {
			c.OpenDoor = func(local netip.AddrPort) (Door, error) { return host.OpenDoor(local) }
		}
	})
}

// TestDoors has a firewall on the host itself. Before it probes are heard; without that a
// NAT at the other end that takes ports at random is not crossed, however open the way to
// the host is.
func TestDoors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		here   []nattest.NAT
		door   bool
		there  nattest.NAT
		direct bool
	}{
		{"public with a door, symmetric", nil, true, nattest.Symmetric, true},
		{"public without, symmetric", nil, false, nattest.Symmetric, false},
		{"full cone with a door, symmetric", []nattest.NAT{nattest.FullCone}, true, nattest.Symmetric, true},
		{"full cone without, symmetric", []nattest.NAT{nattest.FullCone}, false, nattest.Symmetric, false},
		{"public without, port-restricted", nil, false, nattest.PortRestricted, true},
		{"port-restricted with a door, symmetric", []nattest.NAT{nattest.PortRestricted}, true, nattest.Symmetric, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				a, b := w.addDenying("alice", tt.door, tt.here...), w.add("bob", tt.there)
				b.echo = true
				time.Sleep(5 * time.Second) // until surveys are over
				start := time.Now()
				go a.stream(b, 50*time.Millisecond, 30*time.Second)
				if tt.direct {
					t.Logf("direct after %v", w.awaitDirect(a, b, 5*time.Second))
				}
				time.Sleep(time.Until(start.Add(32 * time.Second)))
				if got := a.directTo(b); got != tt.direct {
					w.explain()
					t.Errorf("direct: %v, want %v", got, tt.direct)
				}
				if n := len(a.arrivals()); n < 590 {
					t.Errorf("%d answers of 600", n)
				}
			})
		})
	}
}

// TestDoorBesideTheSocket: what comes by both counts once. Of a hundred questions each
// has one answer.
func TestDoorBesideTheSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		a, b := w.addDenying("alice", true), w.add("bob")
		a.host.SetFirewall(nil)
		time.Sleep(time.Second)
		b.send(a, 1)
		w.awaitDirect(a, b, 5*time.Second)
		time.Sleep(time.Minute)
		asked, told := w.net.Delivered(b.host, a.host), w.net.Delivered(a.host, b.host)
		for range 100 {
			if _, err := b.Ping(context.Background(), a.key); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		n, m := w.net.Delivered(b.host, a.host).Packets-asked.Packets, w.net.Delivered(a.host, b.host).Packets-told.Packets
		if n < 100 || m < n-10 || m > n+10 { // each asks a little for itself
			t.Errorf("%d packets to alice and %d from her, want about as many", n, m)
		}
	})
}

// TestDoorsThatCannotBe: an agent does without.
func TestDoorsThatCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		host, _ := w.net.Place(access)
		a := w.start("alice", host, func(c *Config) {
			c.OpenDoor = func(netip.AddrPort) (Door, error) { return nil, errors.New("operation not permitted") }
		})
		b := w.add("bob", nattest.Linux)
		time.Sleep(time.Second)
		a.send(b, 1)
		w.awaitDirect(a, b, 5*time.Second)
	})
}

// TestDiscoverBehindAFirewall tells the network from the host's own firewall.
func TestDiscoverBehindAFirewall(t *testing.T) {
	const eim, apdm = wire.EndpointIndependent, wire.AddressPortDependent
	for _, tt := range []struct {
		name           string
		nats           []nattest.NAT
		firewall, door bool
		filtering      wire.Behaviour
		told           bool
	}{
		{"firewall, heard before it", nil, true, true, eim, true},
		{"firewall", nil, true, false, apdm, false},
		{"no firewall", nil, false, true, eim, false},
		{"full cone and firewall, heard before it", []nattest.NAT{nattest.FullCone}, true, true, eim, true},
		{"restricted cone and firewall, heard before it", []nattest.NAT{nattest.RestrictedCone}, true, true, wire.AddressDependent, true},
		{"port-restricted cone and firewall", []nattest.NAT{nattest.PortRestricted}, true, true, apdm, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inNet(t, twoHubs, func(t *testing.T, n *nattest.Net, servers []netip.AddrPort) {
				host, _ := n.Place(access, tt.nats...)
				c := DiscoverConfig{Servers: servers, Own: []netip.Addr{host.Addr()}}
				c.Listen = func(a netip.AddrPort) (Socket, error) { return host.Listen(a) }
				if tt.firewall {
					host.SetFirewall(&denyAll)
				}
				if tt.door {
					c.OpenDoor = func(a netip.AddrPort) (Door, error) { return host.OpenDoor(a) }
				}
				r := Discover(context.Background(), c).V4
				if r.Filtering != tt.filtering || !r.FilteringSure || r.Firewall != tt.told {
					t.Errorf("got %+v, want filtering %v, firewall %v", r, tt.filtering, tt.told)
				}
			})
		})
	}
}

// door is one that was opened by hand.
var _ Door = nattest.Door{}

func TestDoorsClose(t *testing.T) {
	n := nattest.New(nattest.Config{})
	defer n.Close()
	host, _ := n.Place(access)
	d, err := host.OpenDoor(netip.MustParseAddrPort("0.0.0.0:1"))
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	if _, _, err := d.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
}
