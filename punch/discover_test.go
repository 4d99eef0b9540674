package punch

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"meshd/punch/nattest"
	"meshd/punch/stun"
	"meshd/punch/wire"
)

// stunServer answers STUN on all pairs of some addresses and ports.
type stunServer struct {
	sockets map[netip.AddrPort]*nattest.Socket
	list    []netip.AddrPort
	tasks   sync.WaitGroup
}

func newSTUNServer(t *testing.T, n *nattest.Net, addrs ...string) *stunServer {
	s := &stunServer{sockets: make(map[netip.AddrPort]*nattest.Socket)}
	var own []netip.Prefix
	for _, a := range addrs {
		own = append(own, netip.MustParsePrefix(a+"/32"))
	}
	host := n.Host(nattest.Link{Delay: time.Millisecond}, own...)
	for _, p := range own {
		for _, port := range []uint16{3478, 3479} {
			sock, err := host.Listen(netip.AddrPortFrom(p.Addr(), port))
			if err != nil {
				t.Fatal(err)
			}
			s.sockets[sock.LocalAddr()] = sock
			s.list = append(s.list, sock.LocalAddr())
		}
	}
	for _, sock := range s.sockets {
		s.tasks.Go(func() { s.serve(sock) })
	}
	return s
}

func (s *stunServer) close() {
	for _, sock := range s.sockets {
		sock.Close()
	}
	s.tasks.Wait()
}

// other is an address that differs in port, and in IP if there are two.
func (s *stunServer) other(local netip.AddrPort) netip.AddrPort {
	best := netip.AddrPort{}
	for _, a := range s.list {
		if a.Port() != local.Port() && (!best.IsValid() || a.Addr() != local.Addr()) {
			best = a
		}
	}
	return best
}

func (s *stunServer) serve(sock *nattest.Socket) {
	bufs, sizes, from := [][]byte{make([]byte, 2048)}, []int{0}, make([]netip.AddrPort, 1)
	local := sock.LocalAddr()
	other := s.other(local)
	for {
		if _, err := sock.Read(bufs, sizes, from); err != nil {
			return
		}
		r, ok := stun.Respond(bufs[0][:sizes[0]], from[0], local, other)
		if !ok {
			continue
		}
		out := local
		if r.FromOtherIP {
			out = netip.AddrPortFrom(other.Addr(), out.Port())
		}
		if r.FromOtherPort {
			out = netip.AddrPortFrom(out.Addr(), other.Port())
		}
		s.sockets[out].Write([][]byte{r.Data}, netip.AddrPortFrom(from[0].Addr(), r.Port))
	}
}

// discoverFrom runs a discovery on a new host behind NATs.
func discoverFrom(n *nattest.Net, servers []netip.AddrPort, c DiscoverConfig, l nattest.Link, nats ...nattest.NAT) *Report {
	host, _ := n.Place(l, nats...)
	c.Servers, c.Own = servers, []netip.Addr{host.Addr()}
	c.Listen = func(a netip.AddrPort) (Socket, error) { return host.Listen(a) }
	return Discover(context.Background(), c).V4
}

const oneHub, twoHubs = "203.0.113.1", "203.0.113.1 203.0.113.2"

// TestDiscover has every kind of access looked at from one hub address, and from
// two.
func TestDiscover(t *testing.T) {
	const (
		eim, adm, apdm = wire.EndpointIndependent, wire.AddressDependent, wire.AddressPortDependent
		keep, seq, rnd = wire.Preserving, wire.Sequential, wire.Random
	)
	type want struct {
		mapping, filtering wire.Behaviour
		class              string
	}
	tests := []struct {
		kind       string
		one, two   want
		allocation wire.Allocation
		delta      int16
	}{
		{"public", want{eim, adm, "open internet or symmetric firewall"}, want{eim, eim, "open internet"}, keep, 0},
		{"full cone", want{eim, adm, "full cone or restricted cone"}, want{eim, eim, "full cone"}, 0, 0},
		{"restricted", want{eim, adm, "full cone or restricted cone"}, want{eim, adm, "restricted cone"}, 0, 0},
		{"port-restricted", want{eim, apdm, "port-restricted cone"}, want{eim, apdm, "port-restricted cone"}, 0, 0},
		{"linux", want{eim, apdm, "port-restricted cone"}, want{eim, apdm, "port-restricted cone"}, keep, 0},
		{"linux accept", want{eim, apdm, "port-restricted cone"}, want{eim, apdm, "port-restricted cone"}, keep, 0},
		{"address symmetric", want{eim, apdm, "port-restricted cone"}, want{adm, apdm, "symmetric"}, rnd, 0},
		{"symmetric preserving", want{apdm, apdm, "symmetric"}, want{apdm, apdm, "symmetric"}, keep, 0},
		{"symmetric +1", want{apdm, apdm, "symmetric"}, want{apdm, apdm, "symmetric"}, seq, 1},
		{"symmetric +2", want{apdm, apdm, "symmetric"}, want{apdm, apdm, "symmetric"}, seq, 2},
		{"symmetric -1", want{apdm, apdm, "symmetric"}, want{apdm, apdm, "symmetric"}, seq, -1},
		{"symmetric random", want{apdm, apdm, "symmetric"}, want{apdm, apdm, "symmetric"}, rnd, 0},
		{"symmetric block", want{apdm, apdm, "symmetric"}, want{apdm, apdm, "symmetric"}, rnd, 0},
		{"carrier", want{eim, apdm, "port-restricted cone"}, want{eim, apdm, "port-restricted cone"}, 0, 0},
		{"carrier symmetric", want{apdm, apdm, "symmetric"}, want{apdm, apdm, "symmetric"}, rnd, 0},
		{"blocked", want{0, 0, "UDP blocked"}, want{0, 0, "UDP blocked"}, 0, 0},
	}
	for i, tt := range tests {
		if tt.kind != nattest.Kinds[i].Name {
			t.Fatalf("kind %d is %q, want %q", i, nattest.Kinds[i].Name, tt.kind)
		}
		for _, loss := range []float64{0, 0.05} {
			for _, hub := range []struct {
				addrs string
				want  want
			}{{oneHub, tt.one}, {twoHubs, tt.two}} {
				name := fmt.Sprintf("%s from %d, loss %v", tt.kind, len(strings.Fields(hub.addrs)), loss)
				t.Run(name, func(t *testing.T) {
					inNet(t, hub.addrs, func(t *testing.T, n *nattest.Net, servers []netip.AddrPort) {
						start := time.Now()
						r := discoverFrom(n, servers, DiscoverConfig{}, nattest.Link{Delay: 10 * time.Millisecond, Loss: loss}, nattest.Kinds[i].NATs...)
						if got := (want{r.Mapping, r.Filtering, r.Class()}); got != hub.want {
							t.Errorf("got %+v, want %+v", got, hub.want)
						}
						allocation := tt.allocation
						if hub.want.mapping == eim && allocation == rnd {
							allocation = wire.UnknownAllocation
						}
						if r.Allocation != allocation || r.Delta != tt.delta {
							t.Errorf("got allocation %d by %d, want %d by %d", r.Allocation, r.Delta, allocation, tt.delta)
						}
						if took := time.Since(start); took > 5*time.Second {
							t.Errorf("took %v, want at most 5 s", took)
						}
					})
				})
			}
		}
	}
}

// inNet runs f in an internet with a STUN server on these addresses.
func inNet(t *testing.T, addrs string, f func(t *testing.T, n *nattest.Net, servers []netip.AddrPort)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := nattest.New(nattest.Config{Seed: 7})
		s := newSTUNServer(t, n, strings.Fields(addrs)...)
		defer n.Close()
		defer s.close()
		f(t, n, s.list)
	})
}

// A block is found so exactly that a search in it is worth while, and no port of
// it is left out by much.
func TestDiscoverBlock(t *testing.T) {
	for seed := range worlds(200) {
		synctest.Test(t, func(t *testing.T) {
			n := nattest.New(nattest.Config{Seed: seed})
			s := newSTUNServer(t, n, oneHub)
			defer n.Close()
			defer s.close()
			r := discoverFrom(n, s.list, DiscoverConfig{}, access, nattest.SymmetricBlock)
			low, high := int(r.Ports[0])&^1023, int(r.Ports[0])|1023
			found := min(high, int(r.High)) - max(low, int(r.Low)) + 1
			if size := int(r.High) - int(r.Low) + 1; size > 2*1024 || found < 1024*3/4 {
				t.Errorf("seed %d: got %d–%d, want about %d–%d", seed, r.Low, r.High, low, high)
			}
		})
	}
}

func TestDiscoverHairpin(t *testing.T) {
	hairpin := nattest.PortRestricted
	hairpin.Hairpin = true
	for _, tt := range []struct {
		nat  nattest.NAT
		want Answer
	}{{nattest.Carrier, Yes}, {hairpin, Yes}, {nattest.Linux, No}} {
		inNet(t, oneHub, func(t *testing.T, n *nattest.Net, servers []netip.AddrPort) {
			if r := discoverFrom(n, servers, DiscoverConfig{Hairpin: true}, access, tt.nat); r.Hairpin != tt.want {
				t.Errorf("%+v: got %d, want %d", tt.nat, r.Hairpin, tt.want)
			}
			if r := discoverFrom(n, servers, DiscoverConfig{}, access, tt.nat); r.Hairpin != Unknown {
				t.Errorf("nobody asked: got %d", r.Hairpin)
			}
		})
	}
}

func TestDiscoverLifetime(t *testing.T) {
	for _, tt := range []struct {
		lifetime, least, ends time.Duration
	}{
		{20 * time.Second, 15 * time.Second, 25 * time.Second},
		{2 * time.Minute, 110 * time.Second, 150 * time.Second},
		{time.Hour, 330 * time.Second, 0},
		{5 * time.Second, 0, 15 * time.Second},
	} {
		nat := nattest.Linux
		nat.Lifetime, nat.Unreplied = tt.lifetime, 0
		inNet(t, oneHub, func(t *testing.T, n *nattest.Net, servers []netip.AddrPort) {
			r := discoverFrom(n, servers, DiscoverConfig{Lifetime: true}, access, nat)
			if r.Lifetime != tt.least || r.LifeEnds != tt.ends {
				t.Errorf("%v: got %v to %v, want %v to %v", tt.lifetime, r.Lifetime, r.LifeEnds, tt.least, tt.ends)
			}
		})
	}
}

// A survey that is cut short tells what it has, and leaves nothing behind.
func TestDiscoverUntilTheContextEnds(t *testing.T) {
	inNet(t, oneHub, func(t *testing.T, n *nattest.Net, servers []netip.AddrPort) {
		host, _ := n.Place(access, nattest.Linux)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		d := Discover(ctx, DiscoverConfig{
			Servers: servers, Listen: func(a netip.AddrPort) (Socket, error) { return host.Listen(a) },
		})
		if d.V6 != nil || d.V4 == nil || d.V4.Mapping != wire.EndpointIndependent || d.V4.Filtering != wire.UnknownBehaviour {
			t.Errorf("got %+v, want what is known after 100 ms", d.V4)
		}
		if d := Discover(t.Context(), DiscoverConfig{
			Servers: servers, Listen: func(netip.AddrPort) (Socket, error) { return nil, net.ErrClosed },
		}); d.V4 != nil || d.Best().UDP {
			t.Errorf("got %+v without a socket", d.V4)
		}
	})
}

// How ports are picked is known before the silence of a filter is.
func TestDiscoverEarly(t *testing.T) {
	inNet(t, oneHub, func(t *testing.T, n *nattest.Net, servers []netip.AddrPort) {
		start := time.Now()
		var at time.Duration
		var early Report
		discoverFrom(n, servers, DiscoverConfig{Early: func(r Report) { at, early = time.Since(start), r }}, access, nattest.SymmetricSequential(2))
		if early.Allocation != wire.Sequential || early.Delta != 2 || early.Filtering != wire.UnknownBehaviour || at > 50*time.Millisecond {
			t.Errorf("after %v got %+v, want a sequential allocation after two round trips", at, early)
		}
		at = 0
		discoverFrom(n, servers, DiscoverConfig{Early: func(Report) { at = time.Since(start) }}, access, nattest.Linux)
		if at != 0 {
			t.Error("told early of ports that do not matter")
		}
	})
}

// What an agent publishes of its NAT, with a hub of one address, and with a
// public peer besides, which sees what the hub can't.
func TestPublishedNAT(t *testing.T) {
	for _, tt := range []struct {
		name        string
		nat         nattest.NAT
		alone, with wire.NAT // bounds of random ports aside
	}{
		{"linux", nattest.Linux,
			wire.NAT{Mapping: wire.EndpointIndependent, Filtering: wire.AddressPortDependent, Allocation: wire.Preserving},
			wire.NAT{Mapping: wire.EndpointIndependent, Filtering: wire.AddressPortDependent, Allocation: wire.Preserving}},
		{"address symmetric", nattest.AddressSymmetric,
			wire.NAT{Mapping: wire.EndpointIndependent, Filtering: wire.AddressPortDependent},
			wire.NAT{Mapping: wire.AddressDependent, Filtering: wire.AddressPortDependent, Allocation: wire.Random}},
		{"symmetric -1", nattest.SymmetricSequential(-1),
			wire.NAT{Mapping: wire.AddressPortDependent, Filtering: wire.AddressPortDependent, Allocation: wire.Sequential, Delta: -1},
			wire.NAT{Mapping: wire.AddressPortDependent, Filtering: wire.AddressPortDependent, Allocation: wire.Sequential, Delta: -1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			story(t, func(t *testing.T, w *world) {
				a := w.addWarm("alice", tt.nat)
				time.Sleep(4 * time.Second)
				if got := natButBounds(a); got != tt.alone {
					t.Errorf("alone: got %+v, want %+v", got, tt.alone)
				}
				b := w.addWarm("bob")
				w.awaitDirect(a, b, 10*time.Second)
				time.Sleep(4 * time.Second)
				if got := natButBounds(a); got != tt.with {
					t.Errorf("with a public peer: got %+v, want %+v", got, tt.with)
				}
				if got := natButBounds(b); got.Filtering != wire.AddressDependent || got.Mapping != wire.EndpointIndependent {
					t.Errorf("the public peer says %+v of itself", got)
				}
			})
		})
	}
}

func natButBounds(a *agent) wire.NAT {
	n := a.Status().Local.NAT
	n.Low, n.High = 0, 0
	return n
}

// A network that changed is looked at again; one that did not is not.
func TestSurveyAfterAChangeOfNetwork(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a := w.add("alice", nattest.Linux)
		time.Sleep(4 * time.Second)
		sent := func() int { return w.net.Sent(a.host).Packets }
		before := sent()
		a.LinkChanged()
		time.Sleep(4 * time.Second)
		if n := sent() - before; n > 6 {
			t.Errorf("%d packets after a link event that changed nothing, want at most 6", n)
		}
		other := w.net.Site(nattest.Gateway{Public: []netip.Addr{netip.MustParseAddr("198.18.99.1")}, NAT: nattest.Symmetric}, access)
		a.host.Move(other.Segment, nattest.LAN, netip.MustParsePrefix("192.168.1.77/24"))
		a.LinkChanged()
		time.Sleep(4 * time.Second)
		if got := natButBounds(a); got != (wire.NAT{Mapping: wire.AddressPortDependent, Filtering: wire.AddressPortDependent, Allocation: wire.Random}) {
			t.Errorf("got %+v behind another NAT", got)
		}
	})
}
