package nattest_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"meshd/punch/nattest"
)

// TestTTL: each router takes one, a gateway as well as the six of the core; what is for
// a gateway itself has arrived there.
func TestTTL(t *testing.T) {
	tests := []struct {
		name string
		from []nattest.NAT
		ttl  int
		want bool
	}{
		{"public, enough", nil, 7, true},
		{"public, dies in the core", nil, 6, false},
		{"home, enough", []nattest.NAT{nattest.Linux}, 8, true},
		{"home, dies in the core", []nattest.NAT{nattest.Linux}, 7, false},
		{"double NAT, enough", []nattest.NAT{nattest.Linux, nattest.Carrier}, 9, true},
		{"double NAT, dies in the core", []nattest.NAT{nattest.Linux, nattest.Carrier}, 8, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nattest.Config{}, func(w *world) {
				c, _ := w.client(tt.from...)
				if _, got := w.probeTTL(c, w.server(3478)[0].LocalAddr(), tt.ttl); got != tt.want {
					t.Errorf("arrived: got %v, want %v; dropped %v", got, tt.want, w.Dropped())
				}
			})
		})
	}
}

// TestOpenerOpens: a packet that dies in the core has opened the sender's own NATs.
func TestOpenerOpens(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		c, _ := w.client(nattest.PortRestricted, nattest.PortRestricted)
		x, y := w.server(3478)[0], w.server(3478)[0]
		public := w.observe(c, x.LocalAddr())
		if w.reaches(y, public) {
			t.Fatal("open before the opener")
		}
		if _, arrived := w.probeTTL(c, y.LocalAddr(), 5); arrived {
			t.Fatal("the opener arrived")
		}
		if !w.reaches(y, public) {
			t.Error("closed after the opener")
		}
	})
}

func TestHopsAreConfigured(t *testing.T) {
	bubble(t, nattest.Config{Hops: 3}, func(w *world) {
		a, to := w.server(1)[0], w.server(1)[0].LocalAddr()
		_, dies := w.probeTTL(a, to, 3)
		_, lives := w.probeTTL(a, to, 4)
		if dies || !lives {
			t.Errorf("with 3 routers, ttl 3 arrived: %v, ttl 4 arrived: %v", dies, lives)
		}
	})
}

func TestCut(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		a, b := w.server(1)[0], w.server(1)[0]
		check := func(when string, there, back bool) {
			t.Helper()
			got := []bool{w.reaches(a, b.LocalAddr()), w.reaches(b, a.LocalAddr())}
			if want := []bool{there, back}; !equal(got, want) {
				t.Errorf("%s: got %v, want %v", when, got, want)
			}
		}
		check("at first", true, true)
		w.Cut(a.LocalAddr().Addr(), b.LocalAddr().Addr())
		check("cut", false, false)
		w.Heal(b.LocalAddr().Addr(), a.LocalAddr().Addr())
		check("healed", true, true)
		w.CutOneWay(a.LocalAddr().Addr(), b.LocalAddr().Addr())
		check("cut one way", false, true)
	})
}

// TestOverlap: two homes have the same prefix and the same addresses, and each address
// is that of the own home.
func TestOverlap(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		a, sites := w.client(nattest.Linux)
		_, others := w.client(nattest.Linux)
		w.neighbour(sites[0].Segment, "192.168.1.7/24")
		w.neighbour(others[0].Segment, "192.168.1.7/24")
		w.neighbour(others[0].Segment, "192.168.1.8/24")
		if !w.reaches(a, endpoint("192.168.1.7:41641")) {
			t.Error("the neighbour is not reached")
		}
		if w.reaches(a, endpoint("192.168.1.8:41641")) {
			t.Error("a host of the other home is reached")
		}
		if w.reaches(a, endpoint("10.0.0.1:41641")) || w.Dropped()["no route"] != 2 {
			t.Errorf("dropped %v, want 2 without a route", w.Dropped())
		}
	})
}

// TestSameLAN: neighbours talk over their links alone, with the addresses they have.
func TestSameLAN(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		a, sites := w.client(nattest.Linux)
		b := w.neighbour(sites[0].Segment, "192.168.1.7/24")
		start := time.Now()
		send(t, a, endpoint("192.168.1.7:41641"), "hello")
		_, from, _ := read(b)
		if got, want := time.Since(start), 2*nattest.LAN.Delay+time.Microsecond; got != want {
			t.Errorf("took %v, want %v", got, want)
		}
		if want := endpoint("192.168.1.3:41641"); from != want {
			t.Errorf("came from %v, want %v", from, want)
		}
		if now, _ := sites[0].Flows(); now != 0 {
			t.Errorf("the gateway has %d flows", now)
		}
	})
}

// TestCounters: the core's word, and that of both ends.
func TestCounters(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		a, sites := w.Place(wan, nattest.Linux)
		b, _ := w.Place(wan)
		s := listen(t, a, endpoint("0.0.0.0:0"))
		w.reaches(s, netip.AddrPortFrom(b.Addr(), 9)) // nobody listens
		listen(t, b, endpoint("0.0.0.0:9"))
		w.reaches(s, netip.AddrPortFrom(b.Addr(), 9))

		public, _ := sites[0].Mapping(netip.AddrPortFrom(a.Addr(), s.LocalAddr().Port()), netip.AddrPortFrom(b.Addr(), 9))
		one, two := nattest.Count{Packets: 1, Bytes: 5}, nattest.Count{Packets: 2, Bytes: 10}
		for _, tt := range []struct {
			name      string
			got, want nattest.Count
		}{
			{"sent", w.Sent(a), two},
			{"crossed", w.Crossed(public.Addr(), b.Addr()), two},
			{"crossed back", w.Crossed(b.Addr(), public.Addr()), nattest.Count{}},
			{"delivered", w.Delivered(a, b), one},
			{"delivered back", w.Delivered(b, a), nattest.Count{}},
		} {
			if tt.got != tt.want {
				t.Errorf("%s: got %v, want %v", tt.name, tt.got, tt.want)
			}
		}
		if got := w.Dropped(); got["no socket"] != 1 || len(got) != 1 {
			t.Errorf("dropped: %v", got)
		}
	})
}

// TestBlock: a gateway may drop by content, and all UDP.
func TestBlock(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		c, sites := w.client(nattest.Linux)
		server := w.server(3478)[0]
		for _, tt := range []struct {
			name string
			set  func()
			want bool
		}{
			{"nothing", func() {}, true},
			{"longer ones", func() { sites[0].Block(func(p nattest.Packet) bool { return len(p.Payload) > 100 }) }, true},
			{"shorter ones", func() { sites[0].Block(func(p nattest.Packet) bool { return len(p.Payload) < 100 }) }, false},
			{"no longer", func() { sites[0].Block(nil) }, true},
			{"all UDP", func() { sites[0].BlockUDP(true) }, false},
			{"UDP again", func() { sites[0].BlockUDP(false) }, true},
		} {
			tt.set()
			if got := w.reaches(c, server.LocalAddr()); got != tt.want {
				t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
			}
		}
		public := w.observe(c, server.LocalAddr())
		sites[0].BlockUDP(true)
		if w.reaches(server, public) {
			t.Error("UDP is blocked, and something came in")
		}
	})
}

// TestRoutedFirewall: IPv6 passes untranslated, and a stateful firewall keeps out what
// wasn't asked for; two such homes open for each other.
func TestRoutedFirewall(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		home := func(network, host string) *nattest.Socket {
			site := w.Site(nattest.Gateway{
				Routed:   []netip.Prefix{prefix(network)},
				Firewall: &nattest.Filter{Filtering: byPort},
			}, wan)
			return listen(t, site.Host(nattest.LAN, prefix(host)), endpoint("[::]:41641"))
		}
		a, b := home("2001:db8:a::/48", "2001:db8:a::7/64"), home("2001:db8:b::/48", "2001:db8:b::7/64")
		toA, toB := endpoint("[2001:db8:a::7]:41641"), endpoint("[2001:db8:b::7]:41641")
		if w.reaches(a, toB) {
			t.Error("a stranger came in")
		}
		if got := w.observe(b, toA); got != toB {
			t.Errorf("came from %v, want %v", got, toB)
		}
		if !w.reaches(a, toB) {
			t.Error("the way is not open")
		}
	})
}

// TestOpenRouter: a routed prefix without a firewall is public.
func TestOpenRouter(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		site := w.Site(nattest.Gateway{Routed: []netip.Prefix{prefix("2001:db8::/48")}}, wan)
		inside := listen(t, site.Host(nattest.LAN, prefix("2001:db8::7/64")), endpoint("[::]:1"))
		outside := listen(t, w.Host(wan, prefix("2001:db8:ffff::1/128")), endpoint("[::]:1"))
		if !w.reaches(outside, endpoint("[2001:db8::7]:1")) || !w.reaches(inside, endpoint("[2001:db8:ffff::1]:1")) {
			t.Errorf("dropped %v", w.Dropped())
		}
		v4 := listen(t, w.Host(wan, prefix("203.0.113.5/32")), endpoint("0.0.0.0:1"))
		if w.reaches(v4, endpoint("192.0.2.1:1")) {
			t.Error("an address that nobody has was reached")
		}
	})
}

// TestSeed: one seed gives one course of events, to the last port and microsecond, with
// loss, jitter and several goroutines at work; another seed gives another.
func TestSeed(t *testing.T) {
	course := func(seed uint64) string {
		var lines []string
		c := nattest.Config{Seed: seed, Trace: func(line string) { lines = append(lines, line) }}
		bubble(t, c, func(w *world) {
			rough := nattest.Link{Delay: 20 * time.Millisecond, Jitter: 30 * time.Millisecond, Loss: 0.2, Reorder: 0.1}
			h, _ := w.Place(rough)
			hub := listen(t, h, endpoint("0.0.0.0:3478"))
			go reflect(hub)
			for range 8 {
				c, _ := w.Place(rough, nattest.Symmetric)
				s := listen(t, c, endpoint("0.0.0.0:0"))
				go reflect(s)
				go func() {
					for range 5 {
						_ = s.Write([][]byte{[]byte("hello")}, netip.AddrPortFrom(h.Addr(), 3478))
					}
				}()
			}
			time.Sleep(time.Second)
		})
		return strings.Join(lines, "\n")
	}
	one, again, other := course(1), course(1), course(2)
	if one != again {
		t.Error("two runs of one seed differ")
	}
	if one == other {
		t.Error("two seeds give the same")
	}
}

func TestTrace(t *testing.T) {
	var lines []string
	trace := func(line string) {
		t.Log(line)
		lines = append(lines, line)
	}
	bubble(t, nattest.Config{Trace: trace}, func(w *world) {
		c, _ := w.client(nattest.Linux)
		w.reaches(c, w.server(3478)[0].LocalAddr())
		w.reaches(c, endpoint("203.0.113.99:1"))
	})
	want := []string{": sent", ": out", ": delivered", ": sent", ": out", ": dropped: no route"}
	if !slices.EqualFunc(lines, want, strings.HasSuffix) {
		t.Errorf("got\n%s\nwant lines that end with %q", strings.Join(lines, "\n"), want)
	}
}

// TestOutsideBubble: without a bubble time is real, and the net is as good.
func TestOutsideBubble(t *testing.T) {
	n := nattest.New(nattest.Config{})
	defer n.Close()
	a, _ := n.Place(nattest.Link{Delay: time.Millisecond}, nattest.Linux)
	b, _ := n.Place(nattest.Link{Delay: time.Millisecond})
	server := listen(t, b, endpoint("0.0.0.0:3478"))
	go reflect(server)
	s := listen(t, a, endpoint("0.0.0.0:41641"))
	start := time.Now()
	send(t, s, netip.AddrPortFrom(b.Addr(), 3478), "hello")
	text, _, err := read(s)
	if want := "198.18.0.1:41641"; text != want || err != nil {
		t.Errorf("got %q, %v, want %q", text, err, want)
	}
	if rtt := time.Since(start); rtt < 4*time.Millisecond {
		t.Errorf("round trip took %v, want 4ms at least", rtt)
	}
}

// TestKindsAreNamed: names of kinds are the rows of tables, so they must differ.
func TestKindsAreNamed(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range nattest.Kinds {
		if k.Name == "" || seen[k.Name] {
			t.Errorf("name %q is empty or used twice", k.Name)
		}
		seen[k.Name] = true
	}
}

func TestDependenceSpoken(t *testing.T) {
	got := fmt.Sprint(independent, byAddress, byPort)
	if want := "endpoint-independent address-dependent address-and-port-dependent"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
