package punch

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"meshd/punch/nattest"
	"meshd/punch/wire"
)

// The NATs of these tests, as their owners know them.
var (
	natEasy       = wire.NAT{Mapping: wire.EndpointIndependent, Filtering: wire.AddressPortDependent}
	natPreserving = wire.NAT{Mapping: wire.AddressPortDependent, Allocation: wire.Preserving}
	natUp         = wire.NAT{Mapping: wire.AddressPortDependent, Allocation: wire.Sequential, Delta: 2}
	natFar        = wire.NAT{Mapping: wire.AddressPortDependent, Allocation: wire.Sequential, Delta: 40}
	natRandom     = wire.NAT{Mapping: wire.AddressPortDependent, Allocation: wire.Random, Low: 1024, High: 65535}
	natBlock      = wire.NAT{Mapping: wire.AddressDependent, Allocation: wire.Random, Low: 4096, High: 5119}
	natTiny       = wire.NAT{Mapping: wire.AddressPortDependent, Allocation: wire.Random, Low: 4096, High: 4223}
	natFreeBSD    = wire.NAT{Mapping: wire.AddressPortDependent, Allocation: wire.Random, Low: 50001, High: 65535}
)

func TestPlan(t *testing.T) {
	for _, tt := range []struct {
		name     string
		self     wire.NAT
		peer     wire.NAT
		lower    bool
		strategy strategy
		seeks    bool
		sockets  int
		probes   int
	}{
		{"easy with easy, lower", natEasy, natEasy, true, fresh, true, 1, 0},
		{"easy with easy, higher", natEasy, natEasy, false, fresh, false, 1, 0},
		{"unknown with random", wire.NAT{}, natRandom, true, plain, false, 0, 0},
		{"easy with one that is being looked at", natEasy, wire.NAT{Mapping: wire.AddressPortDependent}, true, plain, false, 0, 0},
		{"easy with preserving", natEasy, natPreserving, false, predict, true, 0, 0},
		{"preserving with easy", natPreserving, natEasy, true, predict, false, 4, 0},
		{"sequential with easy", natUp, natEasy, true, predict, false, 16, 0},
		{"large steps are as good as random", natEasy, natFar, true, birthday, true, 0, 960},
		{"sequential with preserving, lower", natUp, natPreserving, true, predictBoth, true, 16, 0},
		{"preserving with sequential, higher", natPreserving, natUp, false, predictBoth, false, 16, 0},
		{"preserving with preserving", natPreserving, natPreserving, true, predictBoth, true, 4, 0},
		{"easy with random", natEasy, natRandom, false, birthday, true, 0, 960},
		{"random with easy", natRandom, natEasy, true, birthday, false, 384, 0},
		{"easy with a block", natEasy, natBlock, true, birthday, true, 0, 256},
		{"a block with easy", natBlock, natEasy, true, birthday, false, 64, 0},
		{"a tiny block with easy", natTiny, natEasy, true, birthday, false, 16, 0},
		{"easy with pf", natEasy, natFreeBSD, true, birthday, true, 0, 960},
		{"pf with easy", natFreeBSD, natEasy, true, birthday, false, 384, 0},
		{"random with random", natRandom, natRandom, true, plain, false, 0, 0},
		{"random with sequential", natRandom, natUp, true, plain, false, 0, 0},
		{"preserving with a block", natPreserving, natBlock, true, plain, false, 0, 0},
	} {
		got := planFor(tt.self, tt.peer, tt.lower)
		if got.strategy != tt.strategy || got.seeks != tt.seeks || got.sockets != tt.sockets || got.probes != tt.probes {
			t.Errorf("%s: %+v, want %v, seeks %v, %d sockets, %d probes", tt.name, got, tt.strategy, tt.seeks, tt.sockets, tt.probes)
		}
	}
}

// TestSearchLimits holds plans against the limits for whatever a peer may tell.
func TestSearchLimits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 10_000 {
		a, b := uint16(r.UintN(65536)), uint16(r.UintN(65536))
		n := wire.NAT{Mapping: wire.AddressPortDependent, Allocation: wire.Random, Low: min(a, b), High: max(a, b)}
		low, high := span(n)
		size := int(high) - int(low) + 1
		holder, seeker := planFor(n, natEasy, true), planFor(natEasy, n, true)
		if holder.sockets > maxBirthdaySockets || size >= 8 && holder.sockets*4 > size {
			t.Fatalf("%d sockets in a span of %d", holder.sockets, size)
		}
		ports := seeker.draw(r, seeker.probesAt(1000))
		if len(ports) > maxBirthdayProbes {
			t.Fatalf("%d probes in a span of %d", len(ports), size)
		}
		slices.Sort(ports)
		if len(slices.Compact(ports)) != len(ports) || ports[0] < low || ports[len(ports)-1] > high {
			t.Fatalf("ports of %d–%d are out of it, or twice", low, high)
		}
	}
}

func TestPredicted(t *testing.T) {
	down := wire.NAT{Mapping: wire.AddressPortDependent, Allocation: wire.Sequential, Delta: -1}
	for _, tt := range []struct {
		name    string
		nat     wire.NAT
		samples []uint16
		first   []uint16
		n       int
	}{
		{"preserving", natPreserving, []uint16{20001, 30001}, []uint16{20001, 30001}, 2},
		{"nothing told", natUp, nil, nil, 0},
		{"up", natUp, []uint16{2000}, []uint16{2002, 2004, 2006}, predictedPorts},
		{"up to the second", natUp, []uint16{2000, 2006}, []uint16{2002, 2004}, 2},
		{"up and around", natUp, []uint16{65533}, []uint16{65535, 1025, 1027}, predictedPorts},
		{"down and around", down, []uint16{1025}, []uint16{1024, 65535, 65534}, predictedPorts},
		{"a second that never comes", natUp, []uint16{2000, 2001}, []uint16{2002, 2004}, predictedPorts},
	} {
		got := predicted(tt.nat, tt.samples)
		if len(got) != tt.n || !slices.Equal(got[:len(tt.first)], tt.first) {
			t.Errorf("%s: %d ports %v, want %d, first %v", tt.name, len(got), got[:min(len(got), 4)], tt.n, tt.first)
		}
	}
}

func TestBudget(t *testing.T) {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	var b budget
	here := nats{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("203.0.113.9")}
	moved := nats{netip.MustParseAddr("198.51.100.2"), here.its}
	now := start
	var gaps []time.Duration
	for range 9 {
		b.spend(now, here)
		gaps = append(gaps, b.next(here).Sub(now))
		now = b.next(here)
	}
	if got, want := fmt.Sprint(gaps), "[10m0s 20m0s 40m0s 1h20m0s 2h40m0s 5h20m0s 6h0m0s 6h0m0s 6h0m0s]"; got != want {
		t.Errorf("gaps %v, want %v", got, want)
	}
	if !b.next(moved).IsZero() {
		t.Error("another NAT has to wait")
	}
	b.succeed()
	if got := b.next(here).Sub(b.last); got != searchGap {
		t.Errorf("after success: %v, want %v", got, searchGap)
	}
}

// sped is what one search took, from its first step on, and cost.
type sped struct {
	took   time.Duration
	probes int
	rate   int // packets in the worst second, beside data
}

// measure has a pair search once, with a seed of its own.
func measure(t *testing.T, seed uint64, easy, hard nattest.NAT) (s sped, ok bool) {
	w := newWorldWith(t, nattest.Config{Seed: seed})
	defer w.close()
	easy.Table, hard.Table = 1024, 1024
	a, b := w.add("alice", easy), w.add("bob", hard)
	time.Sleep(5 * time.Second)
	b.echo = true
	const every = 50 * time.Millisecond
	var began time.Time
	var sent []int // by alice, after each packet of hers
	for start := time.Now(); time.Since(start) < 16*time.Second; time.Sleep(every) {
		a.send(b, 0)
		sent = append(sent, w.net.Sent(a.host).Packets-len(sent))
		p := a.path(b)
		if len(p.Attempts) > 0 && began.IsZero() && p.Attempts[len(p.Attempts)-1].Strategy != "" {
			began = time.Now().Add(-every) // at the latest
		}
		if s.took == 0 && a.directTo(b) && b.directTo(a) {
			s.took, ok = time.Since(began), true
		}
	}
	for i := range sent {
		s.rate = max(s.rate, sent[min(i+20, len(sent)-1)]-sent[i])
	}
	s.probes = a.path(b).probes()
	time.Sleep(200 * time.Millisecond)
	if n := len(a.arrivals()); n < len(sent) {
		t.Errorf("seed %d: %d of %d packets were answered", seed, n, len(sent))
	}
	for i, x := range w.agents {
		if _, peak := x.sites[0].Flows(); peak > 1020 {
			t.Errorf("seed %d: %s's NAT held %d flows", seed, w.agents[i].name, peak)
		}
	}
	if drops := w.net.Dropped()["table full"]; drops > 0 {
		t.Errorf("seed %d: a table of 1024 flows was full %d times", seed, drops)
	}
	return s, ok
}

// TestSearchTimes measures searches over many courses of events.
func TestSearchTimes(t *testing.T) {
	for _, tt := range []struct {
		name        string
		easy, hard  nattest.NAT
		median, p99 time.Duration
		probes      int
		least       int // percent of the pairs are direct; of full ranges one in three hundred fails
		seeds       int
	}{
		{"sequential", nattest.PortRestricted, nattest.SymmetricSequential(1), 300 * time.Millisecond, 500 * time.Millisecond, 250, 100, 20},
		{"both sequential", nattest.SymmetricSequential(-1), nattest.SymmetricSequential(2), 300 * time.Millisecond, 500 * time.Millisecond, 250, 100, 20},
		{"preserving", nattest.Linux, nattest.SymmetricPreserving, 300 * time.Millisecond, 500 * time.Millisecond, 250, 100, 20},
		{"block", nattest.Linux, nattest.SymmetricBlock, 500 * time.Millisecond, 1500 * time.Millisecond, 300, 100, 50},
		{"full range", nattest.Linux, nattest.Symmetric, 2500 * time.Millisecond, 14 * time.Second, 1020, 95, 400},
		{"full range, easy side that accepts", nattest.LinuxAccept, nattest.Symmetric, 4 * time.Second, 14 * time.Second, 1020, 85, 40},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seeds := int(worlds(tt.seeds))
			var took []time.Duration
			probes, rate := 0, 0
			for seed := range uint64(seeds) {
				synctest.Test(t, func(t *testing.T) {
					s, ok := measure(t, seed, tt.easy, tt.hard)
					if ok {
						took = append(took, s.took)
					}
					probes, rate = max(probes, s.probes), max(rate, s.rate)
				})
			}
			slices.Sort(took)
			if len(took) < seeds*tt.least/100 {
				t.Fatalf("%d of %d were direct", len(took), seeds)
			}
			median, p99 := took[len(took)/2], took[min(seeds*99/100, len(took))-1]
			t.Logf("%d of %d direct: median %v, 99 %% %v; at most %d probes, %d packets in a second", len(took), seeds, median, p99, probes, rate)
			if median > tt.median || p99 > tt.p99 {
				t.Errorf("median %v, 99 %% %v; want %v and %v", median, p99, tt.median, tt.p99)
			}
			if probes > tt.probes {
				t.Errorf("%d probes, want at most %d", probes, tt.probes)
			}
			if tt.name != "sequential" && rate > 140 {
				t.Errorf("%d packets in a second, want 100 and some for the plain attempt", rate)
			}
		})
	}
}

// shelf counts the sockets that are open.
type shelf struct{ open, most atomic.Int32 }

type shelved struct {
	Socket
	on   *shelf
	once sync.Once
}

func (s *shelved) Close() error {
	s.once.Do(func() { s.on.open.Add(-1) })
	return s.Socket.Close()
}

// addCounted starts an agent whose extra sockets are counted.
func (w *world) addCounted(name string, change func(*Config), nats ...nattest.NAT) (*agent, *shelf) {
	host, sites := w.net.Place(access, nats...)
	on := &shelf{}
	a := w.start(name, host, func(c *Config) {
		listen := c.Listen
		c.ListenExtra = func(addr netip.AddrPort) (Socket, error) {
			s, err := listen(addr)
			if err != nil {
				return nil, err
			}
			on.most.Store(max(on.most.Load(), on.open.Add(1)))
			return &shelved{Socket: s, on: on}, nil
		}
		if change != nil {
			change(c)
		}
	})
	a.sites = sites
	return a, on
}

// talk has b answer a until they are direct, and a second longer.
func (w *world) talk(a, b *agent, limit time.Duration) {
	w.t.Helper()
	b.echo = true
	done := make(chan struct{})
	go func() {
		defer close(done)
		for start := time.Now(); time.Since(start) < limit && !(a.directTo(b) && b.directTo(a)); time.Sleep(50 * time.Millisecond) {
			a.send(b, 0)
		}
		a.stream(b, 50*time.Millisecond, time.Second)
	}()
	w.awaitDirect(a, b, limit)
	<-done
}

// luck is how long a full-range search may take that is repeated after 5 minutes
// when it found nothing, as one in forty does.
const luck = 16 * time.Minute

func TestWinner(t *testing.T) {
	for _, tt := range []struct {
		name       string
		easy, hard nattest.NAT
		same       bool // after a reboot the NAT gives the same port again
	}{
		{"sequential", nattest.Linux, nattest.SymmetricSequential(1), false},
		{"block", nattest.Linux, nattest.SymmetricBlock, false},
		{"full range", nattest.PortRestricted, nattest.Symmetric, false},
		{"both sequential", nattest.SymmetricSequential(1), nattest.SymmetricSequential(1), false},
		{"both preserving", nattest.SymmetricPreserving, nattest.SymmetricPreserving, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			story(t, func(t *testing.T, w *world) {
				tt.hard.Lifetime, tt.easy.Lifetime = 40*time.Second, 40*time.Second
				a, easy := w.addCounted("alice", nil, tt.easy)
				b, hard := w.addCounted("bob", nil, tt.hard)
				time.Sleep(5 * time.Second)
				w.talk(a, b, luck)
				since := [2]time.Time{a.path(b).Since, b.path(a).Since}
				t.Logf("sockets: %d of at most %d, and %d of at most %d", hard.open.Load(), hard.most.Load(), easy.open.Load(), easy.most.Load())
				if got, want := [2]int32{easy.open.Load(), hard.open.Load()}, [2]int32{a.holds(b), b.holds(a)}; got != want {
					t.Errorf("%v sockets are open, want those that won: %v", got, want)
				}
				t.Log("an hour without data, and mappings that live for 40 s")
				time.Sleep(time.Hour)
				if got := [2]time.Time{a.path(b).Since, b.path(a).Since}; got != since || !a.directTo(b) || !b.directTo(a) {
					t.Errorf("direct since %v, want %v", got, since)
				}
				a.forget()
				before := w.hub.count()
				a.stream(b, time.Millisecond, time.Second)
				time.Sleep(100 * time.Millisecond)
				if n, relayed := len(a.arrivals()), w.hub.count()-before; n != 1000 || relayed > 0 {
					t.Errorf("%d of 1000 answers, %d packets relayed", n, relayed)
				}

				t.Log("the hard NAT forgets everything")
				b.sites[0].Reboot()
				if !tt.same {
					w.lose(a, b)
				}
				w.talk(a, b, luck)
				if got, want := [2]int32{easy.open.Load(), hard.open.Load()}, [2]int32{a.holds(b), b.holds(a)}; got != want {
					t.Errorf("%v sockets are open after it was found again, want %v", got, want)
				}

				t.Log("the peer is removed")
				a.SetPeers(nil)
				b.SetPeers(nil)
				time.Sleep(time.Second)
				if got := [2]int32{easy.open.Load(), hard.open.Load()}; got != [2]int32{} {
					t.Errorf("%v sockets are open after the peer was removed", got)
				}
			})
		})
	}
}

// holds is how many sockets of its own the path to b uses: one, or, when a port of
// the common socket was found, none.
func (a *agent) holds(b *agent) (n int32) {
	a.ask(context.Background(), func(l *loop) {
		if p := l.members.all[b.key].path; p.cur != nil && p.cur.socket.extra() {
			n = 1
		}
	})
	return n
}

// lose talks until a notices that the path is dead.
func (w *world) lose(a, b *agent) {
	w.t.Helper()
	for range 100 {
		if !a.directTo(b) && !b.directTo(a) {
			return
		}
		a.send(b, 0)
		time.Sleep(50 * time.Millisecond)
	}
	w.t.Fatal("nobody noticed that the path is dead")
}

func TestSearchOff(t *testing.T) {
	metered := func() bool { return true }
	for _, tt := range []struct {
		name   string
		change func(*Config)
		easy   bool // the change is that of the easy side
	}{
		{"seeker's flag", func(c *Config) { c.BirthdayRate = -1 }, true},
		{"holder's flag", func(c *Config) { c.BirthdayRate = -1 }, false},
		{"seeker's link is metered", func(c *Config) { c.Metered = metered }, true},
		{"holder's link is metered", func(c *Config) { c.Metered = metered }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			story(t, func(t *testing.T, w *world) {
				changes := map[bool]func(*Config){tt.easy: tt.change}
				a, _ := w.addCounted("alice", changes[true], nattest.Linux)
				b, on := w.addCounted("bob", changes[false], nattest.Symmetric)
				time.Sleep(5 * time.Second)
				a.stream(b, 50*time.Millisecond, 30*time.Second)
				if a.directTo(b) || on.most.Load() > 0 {
					t.Errorf("direct %v, %d sockets opened; want none", a.directTo(b), on.most.Load())
				}
			})
		})
	}
}

// TestSearchSwitchedOff has the seeker's owner forbid searches at any moment up to
// the first probe, and allow them again.
func TestSearchSwitchedOff(t *testing.T) {
	for at := time.Duration(0); at < 600*time.Millisecond; at += 20 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.close()
			a, b := w.add("alice", nattest.Linux), w.add("bob", nattest.Symmetric)
			time.Sleep(5 * time.Second)
			time.AfterFunc(at, func() { a.SetBirthdayRate(-1) })
			a.stream(b, 50*time.Millisecond, 3*time.Second)
			began := func(tried Attempt) bool {
				return tried.Strategy == "birthday" && (tried.Spent > 0 || tried.Verdict == "running")
			}
			if slices.ContainsFunc(a.path(b).Attempts, began) {
				t.Logf("after %v it had begun", at)
				return
			}
			a.stream(b, 50*time.Millisecond, 20*time.Second)
			if a.directTo(b) {
				t.Errorf("forbidden after %v, and direct: %+v", at, a.path(b))
			}
			if slices.ContainsFunc(a.path(b).Attempts, func(tried Attempt) bool { return tried.Strategy == "birthday" }) {
				return // bob has opened sockets in vain, and won't soon again
			}
			a.SetBirthdayRate(0)
			a.stream(b, 50*time.Millisecond, 15*time.Second)
			if !a.directTo(b) && !slices.ContainsFunc(a.path(b).Attempts, began) {
				t.Errorf("allowed again, and not searched: %+v", a.path(b).Attempts)
			}
		})
	}
}

// TestOneSearchAtATime has two peers behind random NATs, and data to both.
func TestOneSearchAtATime(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a := w.add("alice", nattest.Linux)
		b, c := w.add("bob", nattest.Symmetric), w.add("carol", nattest.Symmetric)
		time.Sleep(5 * time.Second)
		w.t.Log("probes of alice, second by second")
		last, worst := w.net.Sent(a.host).Packets, 0
		for n := range 40 {
			for range 20 {
				a.send(b, 0)
				a.send(c, 0)
				time.Sleep(50 * time.Millisecond)
			}
			sent := w.net.Sent(a.host).Packets
			if n > 2 {
				worst = max(worst, sent-last-40)
			}
			last = sent
		}
		if worst > 135 {
			t.Errorf("%d packets beside data in a second, want 100, some for plain attempts, and a few to measure sizes", worst)
		}
		for _, peer := range []*agent{b, c} {
			searched := func(tried Attempt) bool { return tried.Strategy == "birthday" } // one in a hundred has no luck
			if !slices.ContainsFunc(a.path(peer).Attempts, searched) && !a.directTo(peer) {
				t.Errorf("%s has not had its turn after 40 s", peer.name)
				w.explain()
			}
		}
	})
}

// TestNoSearchWithoutData punches before anyone asks, and spends no birthday
// search on it; a user's ping is enough for one.
func TestNoSearchWithoutData(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a := w.addWarm("alice", nattest.Linux)
		b, on := w.addCounted("bob", func(c *Config) { c.PrePunch = 0 }, nattest.SymmetricBlock)
		time.Sleep(10 * time.Minute)
		if on.most.Load() > 0 || a.directTo(b) {
			t.Errorf("direct %v, %d sockets opened for nobody", a.directTo(b), on.most.Load())
		}
		if _, err := a.Ping(t.Context(), b.key); err != nil {
			t.Fatal(err)
		}
		w.awaitDirect(a, b, 5*time.Second)
	})
}

// crowd has a neighbour behind an agent's NAT open so many flows a second.
func (w *world) crowd(a *agent, flows int, d time.Duration) {
	s, err := a.sites[0].Host(nattest.LAN, netip.MustParsePrefix("192.168.1.99/24")).Listen(netip.MustParseAddrPort("0.0.0.0:5000"))
	if err != nil {
		w.t.Fatal(err)
	}
	go func() {
		for n := range int(d.Seconds()) * flows {
			s.Write([][]byte{{0}}, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(n)}), uint16(1+n/256)))
			time.Sleep(time.Second / time.Duration(flows))
		}
	}()
}

// TestCrowdedNAT predicts ports while others take some of them.
func TestCrowdedNAT(t *testing.T) {
	for _, tt := range []struct {
		name  string
		easy  nattest.NAT
		flows int
		limit time.Duration
	}{
		{"50 flows a second", nattest.Linux, 50, 500 * time.Millisecond},
		{"200 flows a second", nattest.Linux, 200, 500 * time.Millisecond},
		{"both sequential, 20 flows a second at each", nattest.SymmetricSequential(1), 20, 500 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			story(t, func(t *testing.T, w *world) {
				a, b := w.add("alice", tt.easy), w.add("bob", nattest.SymmetricSequential(1))
				for _, x := range w.agents {
					w.crowd(x, tt.flows, 8*time.Second)
				}
				time.Sleep(5 * time.Second)
				b.echo = true
				go a.stream(b, 20*time.Millisecond, 2*time.Second)
				t.Logf("direct after %v", w.awaitDirect(a, b, tt.limit))
				time.Sleep(5 * time.Second)
			})
		})
	}
}

func TestSearchOnBadLine(t *testing.T) {
	for _, tt := range []struct {
		name  string
		hard  nattest.NAT
		line  nattest.Link
		limit time.Duration
	}{
		{"sequential, loss", nattest.SymmetricSequential(1), nattest.Link{Delay: 10 * time.Millisecond, Loss: 0.1}, 6 * time.Second},
		{"block, loss", nattest.SymmetricBlock, nattest.Link{Delay: 10 * time.Millisecond, Loss: 0.1}, 10 * time.Second},
		{"sequential, satellite", nattest.SymmetricSequential(1), nattest.Link{Delay: 280 * time.Millisecond, Jitter: 20 * time.Millisecond}, 6 * time.Second},
		{"block, satellite", nattest.SymmetricBlock, nattest.Link{Delay: 280 * time.Millisecond, Jitter: 20 * time.Millisecond}, 10 * time.Second},
		{"block, reordering", nattest.SymmetricBlock, nattest.Link{Delay: 20 * time.Millisecond, Reorder: 0.2}, 5 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range worlds(10) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorldWith(t, nattest.Config{Seed: seed})
					defer w.close()
					a, b := w.add("alice", nattest.LinuxAccept), w.add("bob", tt.hard)
					time.Sleep(5 * time.Second)
					b.sites[0].SetLink(tt.line)
					go a.stream(b, 50*time.Millisecond, tt.limit)
					t.Logf("direct after %v", w.awaitDirect(a, b, tt.limit))
					time.Sleep(tt.limit)
				})
			}
		})
	}
}

// TestSearchAtOnce starts two agents that talk before they know their NATs, or
// that nobody talks to at all.
func TestSearchAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name string
		hard nattest.NAT
		data bool
	}{
		{"sequential, data at once", nattest.SymmetricSequential(1), true},
		{"block, data at once", nattest.SymmetricBlock, true},
		{"both sequential, data at once", nattest.SymmetricSequential(1), true},
		{"sequential, no data", nattest.SymmetricSequential(1), false},
		{"preserving, no data", nattest.SymmetricPreserving, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			story(t, func(t *testing.T, w *world) {
				easy := nattest.Linux
				if tt.name[:4] == "both" {
					easy = nattest.SymmetricSequential(-1)
				}
				a, b := w.addWarm("alice", easy), w.addWarm("bob", tt.hard)
				done := make(chan struct{})
				go func() {
					defer close(done)
					if tt.data {
						a.stream(b, 50*time.Millisecond, 8*time.Second)
					}
				}()
				t.Logf("direct after %v", w.awaitDirect(a, b, 8*time.Second))
				<-done
			})
		})
	}
}

// TestSearchesInTurn has two peers look for one behind a hard NAT, who holds its
// sockets for one at a time. The other one asks until it is its turn.
func TestSearchesInTurn(t *testing.T) {
	for _, hard := range []nattest.NAT{nattest.SymmetricBlock, nattest.Symmetric} {
		for seed := range worlds(10) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorldWith(t, nattest.Config{Seed: seed})
				defer w.close()
				a, c := w.addWarm("alice", nattest.Linux), w.addWarm("carol", nattest.Linux)
				time.Sleep(5 * time.Second)
				b := w.addWarm("bob", hard)
				const span = 25 * time.Second
				start := time.Now()
				done := make(chan struct{})
				go func() {
					defer close(done)
					c.stream(b, 50*time.Millisecond, span)
				}()
				a.stream(b, 50*time.Millisecond, span)
				<-done
				for _, p := range []PeerStatus{a.path(b), c.path(b)} {
					t.Logf("%v since %v: %s", p.Path, p.Since.Sub(start), p.Reason)
					for _, x := range p.Attempts {
						if strings.Contains(x.Verdict, "did not take part") {
							t.Errorf("seed %d: an attempt after %v ended without a search: %s", seed, x.At.Sub(start), x.Verdict)
						}
					}
				}
			})
		}
	}
}
