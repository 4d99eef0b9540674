package nattest_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"meshd/punch/nattest"
)

const (
	independent = nattest.EndpointIndependent
	byAddress   = nattest.AddressDependent
	byPort      = nattest.AddressAndPortDependent
)

// TestBehaviour finds out by the tests of RFC 5780 §4 what each NAT was told to be.
func TestBehaviour(t *testing.T) {
	all := []nattest.Dependence{independent, byAddress, byPort}
	for _, mapping := range all {
		for _, filtering := range all {
			t.Run(fmt.Sprintf("%v mapping, %v filtering", mapping, filtering), func(t *testing.T) {
				bubble(t, nattest.Config{}, func(w *world) {
					nat := nattest.NAT{Mapping: mapping, Filter: nattest.Filter{Filtering: filtering}}
					if got := discoverMapping(w, nat); got != mapping {
						t.Errorf("mapping: got %v, want %v", got, mapping)
					}
					if got := discoverFiltering(w, nat); got != filtering {
						t.Errorf("filtering: got %v, want %v", got, filtering)
					}
				})
			})
		}
	}
}

// discoverMapping asks two ports of one server and one of another.
func discoverMapping(w *world, nat nattest.NAT) nattest.Dependence {
	c, _ := w.client(nat)
	x, y := w.server(3478, 3479), w.server(3478)
	first := w.observe(c, x[0].LocalAddr())
	switch {
	case w.observe(c, y[0].LocalAddr()) == first:
		return independent
	case w.observe(c, x[1].LocalAddr()) == first:
		return byAddress
	}
	return byPort
}

// discoverFiltering asks one port, and has others answer.
func discoverFiltering(w *world, nat nattest.NAT) nattest.Dependence {
	c, _ := w.client(nat)
	x, y := w.server(3478, 3479), w.server(3478)
	public := w.observe(c, x[0].LocalAddr())
	switch {
	case w.reaches(y[0], public):
		return independent
	case w.reaches(x[1], public):
		return byAddress
	}
	return byPort
}

// TestMappingIsKept: what an internal endpoint sends to the same remote always has
// the same source, and the answer comes back.
func TestMappingIsKept(t *testing.T) {
	for _, kind := range nattest.Kinds {
		t.Run(kind.Name, func(t *testing.T) {
			bubble(t, nattest.Config{}, func(w *world) {
				c, _ := w.client(kind.NATs...)
				server := w.server(3478)[0]
				if kind.Name == "blocked" {
					if w.reaches(c, server.LocalAddr()) {
						t.Error("a packet came through")
					}
					return
				}
				first := w.observe(c, server.LocalAddr())
				if got := w.observe(server, first); got != server.LocalAddr() {
					t.Errorf("answer came from %v, want %v", got, server.LocalAddr())
				}
				if second := w.observe(c, server.LocalAddr()); second != first {
					t.Errorf("mapping changed from %v to %v", first, second)
				}
			})
		})
	}
}

// portsOf returns the public ports of one socket towards six ports of a server.
func portsOf(w *world, nat nattest.NAT) []uint16 {
	c, _ := w.client(nat)
	var ports []uint16
	for _, s := range w.server(1, 2, 3, 4, 5, 6) {
		ports = append(ports, w.observe(c, s.LocalAddr()).Port())
	}
	return ports
}

func TestSequentialAllocation(t *testing.T) {
	for _, step := range []int{1, 2, 8, -1, -3} {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			bubble(t, nattest.Config{}, func(w *world) {
				ports := portsOf(w, nattest.SymmetricSequential(step))
				for i := range ports[1:] {
					if got := int(ports[i+1]) - int(ports[i]); got != step {
						t.Errorf("step %d of %v: got %d, want %d", i, ports, got, step)
					}
				}
			})
		})
	}
}

// TestSequentialWraps: after the last port of the range comes the first, and a port
// in use is passed over.
func TestSequentialWraps(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		nat := nattest.Symmetric
		nat.Allocation = nattest.Allocation{Step: 1, Low: 5000, High: 5005}
		seen := map[uint16]bool{}
		for _, port := range portsOf(w, nat) {
			seen[port] = true
			if port < 5000 || port > 5005 {
				t.Errorf("port %d is out of range", port)
			}
		}
		if len(seen) != 6 {
			t.Errorf("got ports %v, want all six of the range", seen)
		}
	})
}

func TestRandomAllocation(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		nat := nattest.Symmetric
		nat.Allocation = nattest.Random(50001, 65535)
		distinct := map[int]bool{}
		ports := portsOf(w, nat)
		for i := range ports[1:] {
			distinct[int(ports[i+1])-int(ports[i])] = true
		}
		for _, port := range ports {
			if port < 50001 {
				t.Errorf("port %d is out of range", port)
			}
		}
		if len(distinct) != 5 {
			t.Errorf("steps repeat: %v", ports)
		}
	})
}

// TestPreservingAllocation: the first mapping of a port keeps it, also that of a
// second socket; the next mapping of the same socket collides and can't.
func TestPreservingAllocation(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		h, _ := w.Place(wan, nattest.SymmetricPreserving)
		first, fresh := listen(t, h, endpoint("0.0.0.0:41641")), listen(t, h, endpoint("0.0.0.0:52222"))
		x := w.server(1, 2)
		if got := w.observe(first, x[0].LocalAddr()).Port(); got != 41641 {
			t.Errorf("first mapping: got port %d, want 41641", got)
		}
		if got := w.observe(first, x[1].LocalAddr()).Port(); got == 41641 {
			t.Error("second mapping of the socket has the port of the first")
		}
		if got := w.observe(fresh, x[1].LocalAddr()).Port(); got != 52222 {
			t.Errorf("fresh socket: got port %d, want 52222", got)
		}
	})
}

// TestLinuxCollision: of two hosts with the same port one gets another, and keeps
// that towards everyone.
func TestLinuxCollision(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		a, sites := w.client(nattest.Linux)
		b := w.neighbour(sites[0].Segment, "192.168.1.200/24")
		x := w.server(1, 2)
		if got := w.observe(a, x[0].LocalAddr()).Port(); got != 41641 {
			t.Errorf("first host: got port %d, want 41641", got)
		}
		other := w.observe(b, x[0].LocalAddr())
		if other.Port() == 41641 {
			t.Error("two hosts have one port")
		}
		if got := w.observe(b, x[1].LocalAddr()); got != other {
			t.Errorf("second host towards another remote: got %v, want %v", got, other)
		}
	})
}

// TestBlockAllocation: each internal address has 1024 ports for itself.
func TestBlockAllocation(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		a, sites := w.client(nattest.SymmetricBlock)
		b := w.neighbour(sites[0].Segment, "192.168.1.200/24")
		blocks := map[*nattest.Socket]map[int]bool{a: {}, b: {}}
		for _, s := range w.server(1, 2, 3, 4, 5, 6) {
			for c := range blocks {
				blocks[c][(int(w.observe(c, s.LocalAddr()).Port())-1024)/1024] = true
			}
		}
		for block := range blocks[a] {
			if len(blocks[a]) != 1 || len(blocks[b]) != 1 || blocks[b][block] {
				t.Errorf("got blocks %v and %v, want one each, not the same", blocks[a], blocks[b])
			}
		}
	})
}

// TestBlockIsQuota: who has used up his block gets no more.
func TestBlockIsQuota(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		nat := nattest.Symmetric
		nat.Allocation = nattest.RandomBlock(2)
		c, _ := w.client(nat)
		x := w.server(1, 2, 3)
		got := []bool{w.reaches(c, x[0].LocalAddr()), w.reaches(c, x[1].LocalAddr()), w.reaches(c, x[2].LocalAddr())}
		if want := []bool{true, true, false}; !equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if w.Dropped()["no port"] != 1 {
			t.Errorf("dropped: %v, want one for want of a port", w.Dropped())
		}
	})
}

func TestHairpin(t *testing.T) {
	for _, hairpin := range []bool{true, false} {
		t.Run(fmt.Sprint(hairpin), func(t *testing.T) {
			bubble(t, nattest.Config{}, func(w *world) {
				nat := nattest.FullCone
				nat.Hairpin = hairpin
				a, sites := w.client(nat)
				b := w.neighbour(sites[0].Segment, "192.168.1.200/24")
				hub := w.server(3478)[0].LocalAddr()
				publicA, publicB := w.observe(a, hub), w.observe(b, hub)

				seen, ok := w.probe(a, publicB)
				if ok != hairpin {
					t.Fatalf("arrived %v, want %v", ok, hairpin)
				}
				if hairpin && seen != publicA { // RFC 4787 REQ-9a
					t.Errorf("came from %v, want the public endpoint %v", seen, publicA)
				}
			})
		})
	}
}

// TestCarrierHairpin: two homes of one carrier meet by the carrier's hairpin, and
// nothing of it crosses the core.
func TestCarrierHairpin(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		carrier := w.Site(nattest.Gateway{Public: []netip.Addr{addr("203.0.113.1")}, NAT: nattest.Carrier}, wan)
		home := func(public string) *nattest.Socket {
			site := carrier.Site(nattest.Gateway{Public: []netip.Addr{addr(public)}, NAT: nattest.Linux}, wan)
			return w.neighbour(site.Segment, "192.168.1.2/24")
		}
		a, b := home("100.64.0.1"), home("100.64.0.2")
		hub := w.server(3478)[0].LocalAddr()
		publicA, publicB := w.observe(a, hub), w.observe(b, hub)
		w.reaches(a, publicB)
		if got := w.observe(b, publicA); got != publicB {
			t.Errorf("came from %v, want %v", got, publicB)
		}
		if got := w.observe(a, publicB); got != publicA {
			t.Errorf("came from %v, want %v", got, publicA)
		}
		if c := w.Crossed(addr("203.0.113.1"), addr("203.0.113.1")); c.Packets != 0 {
			t.Errorf("%d packets crossed the core", c.Packets)
		}
	})
}

// TestLifetime: a flow lives for its lifetime after the last packet that refreshes it.
func TestLifetime(t *testing.T) {
	const life = 20 * time.Second
	tests := []struct {
		name     string
		filter   nattest.Filter
		answered bool          // by the server at once
		every    time.Duration // the server sends for a minute; 0: silence
		wait     time.Duration // then
		alive    bool
	}{
		{"just in time", nattest.Filter{Lifetime: life}, true, 0, life - time.Second, true},
		{"too late", nattest.Filter{Lifetime: life}, true, 0, life + time.Second, false},
		{"refreshed by inbound", nattest.Filter{Lifetime: life}, true, 10 * time.Second, 0, true},
		{"inbound doesn't refresh", nattest.Filter{Lifetime: life, OutboundOnly: true}, true, 10 * time.Second, 0, false},
		{"unreplied dies early", nattest.Filter{Lifetime: life, Unreplied: 5 * time.Second}, false, 0, 6 * time.Second, false},
		{"replied lives longer", nattest.Filter{Lifetime: life, Unreplied: 5 * time.Second}, true, 0, 6 * time.Second, true},
		{"default is two minutes", nattest.Filter{}, true, 0, 119 * time.Second, true},
		{"default is no more", nattest.Filter{}, true, 0, 121 * time.Second, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nattest.Config{}, func(w *world) {
				tt.filter.Filtering = byPort
				c, sites := w.client(nattest.NAT{Mapping: independent, Filter: tt.filter})
				server := w.server(3478)[0]
				public := w.observe(c, server.LocalAddr())
				if tt.answered && !w.reaches(server, public) {
					t.Fatal("answer was dropped")
				}
				if tt.every > 0 {
					for range time.Minute / tt.every {
						time.Sleep(tt.every - settle)
						w.reaches(server, public)
					}
				}
				time.Sleep(tt.wait - 2*settle)
				if got := w.reaches(server, public); got != tt.alive {
					t.Errorf("alive: got %v, want %v", got, tt.alive)
				}
				if now, _ := sites[0].Flows(); (now == 1) != tt.alive {
					t.Errorf("%d flows in the table, alive: %v", now, tt.alive)
				}
			})
		})
	}
}

// TestExpiredMapping: after silence the same endpoint gets another port, and the old
// one leads nowhere.
func TestExpiredMapping(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		c, _ := w.client(nattest.FullCone)
		server := w.server(3478)[0]
		old := w.observe(c, server.LocalAddr())
		time.Sleep(nattest.DefaultLifetime)
		if w.observe(c, server.LocalAddr()) == old {
			t.Error("mapping outlived its lifetime")
		}
		if w.reaches(server, old) {
			t.Error("the old mapping still leads in")
		}
	})
}

func TestReboot(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		c, sites := w.client(nattest.FullCone)
		server := w.server(3478)[0]
		old := w.observe(c, server.LocalAddr())
		sites[0].Reboot()
		if w.reaches(server, old) {
			t.Error("the old mapping still leads in")
		}
		if w.observe(c, server.LocalAddr()) == old {
			t.Error("the mapping was not forgotten")
		}
	})
}

func TestRenumber(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		c, sites := w.client(nattest.Linux)
		server := w.server(3478)[0]
		old := w.observe(c, server.LocalAddr())
		sites[0].Renumber(addr("203.0.113.77"))
		if got, want := w.observe(c, server.LocalAddr()), endpoint("203.0.113.77:41641"); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
		if w.reaches(server, old) {
			t.Error("the old address still leads in")
		}
	})
}

// TestTable: a full table drops what would need another flow, and nothing else.
func TestTable(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		nat := nattest.PortRestricted
		nat.Table = 3
		c, sites := w.client(nat)
		x := w.server(1, 2, 3, 4)
		for i, want := range []bool{true, true, true, false} {
			if got := w.reaches(c, x[i].LocalAddr()); got != want {
				t.Errorf("flow %d: got %v, want %v", i, got, want)
			}
		}
		if !w.reaches(c, x[0].LocalAddr()) {
			t.Error("a flow in the table was dropped")
		}
		if now, peak := sites[0].Flows(); now != 3 || peak != 3 {
			t.Errorf("got %d flows, %d at most, want 3 and 3", now, peak)
		}
		time.Sleep(nattest.DefaultLifetime)
		if !w.reaches(c, x[3].LocalAddr()) {
			t.Error("the table is full of dead flows")
		}
	})
}

// TestClash: b's packet arrives at a's gateway before a opened the way for it. A
// gateway that accepts takes the packet for its own, and spoils the port; one that
// drops doesn't; and a packet that dies on its way harms nobody.
func TestClash(t *testing.T) {
	tests := []struct {
		name string
		nat  nattest.NAT
		ttl  int // of b's first packet
		want bool
	}{
		{"drop", nattest.Linux, 64, true},
		{"accept", nattest.LinuxAccept, 64, false},
		{"accept, opened with a low ttl", nattest.LinuxAccept, 5, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nattest.Config{}, func(w *world) {
				a, _ := w.client(tt.nat)
				b, _ := w.client(tt.nat)
				hub := w.server(3478)[0].LocalAddr()
				publicA, publicB := w.observe(a, hub), w.observe(b, hub)
				w.probeTTL(b, publicA, tt.ttl)
				w.reaches(a, publicB)
				if got := w.reaches(b, publicA); got != tt.want {
					t.Errorf("b reaches a: got %v, want %v", got, tt.want)
				}
				if got := w.reaches(a, publicB); got != tt.want {
					t.Errorf("a reaches b: got %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// TestClashIsForgotten: the gateway remembers for half a minute after the last packet.
func TestClashIsForgotten(t *testing.T) {
	for _, tt := range []struct {
		pause time.Duration
		same  bool
	}{{29 * time.Second, false}, {30 * time.Second, true}} {
		t.Run(tt.pause.String(), func(t *testing.T) {
			bubble(t, nattest.Config{}, func(w *world) {
				c, _ := w.client(nattest.LinuxAccept)
				x, y := w.server(3478)[0], w.server(3478)[0]
				public := w.observe(c, x.LocalAddr())
				w.reaches(y, public)
				time.Sleep(tt.pause)
				if got := w.observe(c, y.LocalAddr()) == public; got != tt.same {
					t.Errorf("same port: got %v, want %v", got, tt.same)
				}
			})
		})
	}
}

// TestForward: a static forward is open to everybody, answers leave from its port, and
// a reboot leaves it alone.
func TestForward(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		c, sites := w.client(nattest.Symmetric)
		h, _ := w.Place(wan)
		stranger := listen(t, h, endpoint("0.0.0.0:9"))
		public := endpoint("198.18.0.1:5000")
		sites[0].Forward(public, netip.AddrPortFrom(addr("192.168.1.3"), 41641))
		sites[0].Reboot()
		if !w.reaches(stranger, public) {
			t.Fatalf("forward is closed: %v", w.Dropped())
		}
		if got := w.observe(c, netip.AddrPortFrom(h.Addr(), 9)); got != public {
			t.Errorf("answer came from %v, want %v", got, public)
		}
		sites[0].Forward(public, netip.AddrPort{})
		time.Sleep(nattest.DefaultLifetime)
		if w.reaches(stranger, public) {
			t.Error("forward is still open")
		}
	})
}

// TestOneToOne: a preserving full cone and a forward are what a cloud does for a machine
// with a public address: open unasked, and the same endpoint both ways.
func TestOneToOne(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		nat := nattest.FullCone
		nat.Allocation = nattest.Preserving()
		c, sites := w.client(nat)
		server, public := w.server(3478)[0], endpoint("198.18.0.1:41641")
		sites[0].Forward(public, endpoint("192.168.1.3:41641"))
		if !w.reaches(server, public) {
			t.Error("not open")
		}
		if got := w.observe(c, w.server(1)[0].LocalAddr()); got != public {
			t.Errorf("seen as %v, want %v", got, public)
		}
		thief := w.neighbour(sites[0].Segment, "192.168.1.200/24")
		if w.observe(thief, server.LocalAddr()) == public {
			t.Error("another host has the forwarded port")
		}
	})
}

// TestPooling: with several public addresses, paired pooling gives an internal address
// always the same.
func TestPooling(t *testing.T) {
	for _, arbitrary := range []bool{false, true} {
		t.Run(fmt.Sprint("arbitrary ", arbitrary), func(t *testing.T) {
			bubble(t, nattest.Config{}, func(w *world) {
				nat := nattest.Symmetric
				nat.ArbitraryPooling = arbitrary
				site := w.Site(nattest.Gateway{
					Public: []netip.Addr{addr("203.0.113.1"), addr("203.0.113.2")}, NAT: nat,
				}, wan)
				c := w.neighbour(site.Segment, "192.168.1.2/24")
				seen := map[netip.Addr]bool{}
				for _, s := range w.server(1, 2, 3, 4, 5, 6, 7, 8) {
					seen[w.observe(c, s.LocalAddr()).Addr()] = true
				}
				if (len(seen) == 2) != arbitrary {
					t.Errorf("got addresses %v", seen)
				}
			})
		})
	}
}

// TestMappingShown: tests may look into the table.
func TestMappingShown(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		h, sites := w.Place(wan, nattest.Symmetric)
		c := listen(t, h, endpoint("0.0.0.0:41641"))
		to, internal := w.server(3478)[0].LocalAddr(), netip.AddrPortFrom(h.Addr(), 41641)
		if _, ok := sites[0].Mapping(internal, to); ok {
			t.Error("a mapping before the first packet")
		}
		want := w.observe(c, to)
		if got, _ := sites[0].Mapping(internal, to); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func equal(a, b []bool) bool { return fmt.Sprint(a) == fmt.Sprint(b) }
