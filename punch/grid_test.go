package punch

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"meshd/punch/nattest"
	"meshd/punch/stun"
)

// class is how a kind of access takes part in hole punching.
type class uint8

const (
	open     class = iota // heard at one address by everyone who was sent to first, or by all
	strict                // filters by address and port
	foreseen              // strict, and maps by destination, to ports that can be told beforehand
	hard                  // the same, to random ones
	blocked               // no UDP at all
)

func classOf(k nattest.Kind) class {
	c := open
	for _, n := range k.NATs {
		a := n.Allocation
		switch {
		case n.Blocked:
			return blocked
		case n.Mapping != nattest.EndpointIndependent && (a.Preserve || a.Step != 0):
			c = max(c, foreseen)
		case n.Mapping != nattest.EndpointIndependent:
			c = max(c, hard)
		case n.Filtering == nattest.AddressAndPortDependent:
			c = max(c, strict)
		}
	}
	return c
}

// crossings is how a pair gets together. What is not listed is relayed: pairs of
// two mappings by destination, one of them at random.
var crossings = map[[2]class]string{
	{open, open}:         "plain",
	{open, strict}:       "plain",
	{strict, strict}:     "plain",
	{open, foreseen}:     "plain",
	{open, hard}:         "plain",
	{strict, foreseen}:   "predicted",
	{foreseen, foreseen}: "predicted both",
	{strict, hard}:       "birthday",
}

// searches is how many worlds a pair that has to search may try: one search in
// forty finds nothing.
const searches = 4

// TestGrid has every kind of access meet every other.
func TestGrid(t *testing.T) {
	for i, x := range nattest.Kinds {
		for _, y := range nattest.Kinds[i:] {
			t.Run(x.Name+" × "+y.Name, func(t *testing.T) {
				want := wanted(x, y)
				for try := uint64(1); ; try++ {
					m := meet(t, try, x, y, 20*time.Second)
					if m.answers < 400 {
						t.Errorf("%d answers, want 400", m.answers)
					}
					if m.crossed == want {
						t.Logf("crossed %q after %v, %d probes", m.crossed, m.after, m.probes)
						return
					}
					if want != "birthday" || m.crossed != "" || try == searches {
						t.Fatalf("crossed %q, want %q\n%s", m.crossed, want, m.story)
					}
				}
			})
		}
	}
}

// wanted is how a pair is expected to get together; "": it is relayed.
func wanted(x, y nattest.Kind) string {
	a, b := classOf(x), classOf(y)
	return crossings[[2]class{min(a, b), max(a, b)}]
}

// TestGridOfTen counts the pairs among the ten kinds by which systems are
// compared.
func TestGridOfTen(t *testing.T) {
	names := []string{
		"public", "full cone", "restricted", "port-restricted", "linux", "address symmetric",
		"symmetric preserving", "symmetric +1", "symmetric random", "carrier",
	}
	var kinds []nattest.Kind
	for _, k := range nattest.Kinds {
		if slices.Contains(names, k.Name) {
			kinds = append(kinds, k)
		}
	}
	direct, pairs := 0, 0
	for i, x := range kinds {
		for _, y := range kinds[i:] {
			pairs++
			if wanted(x, y) != "" {
				direct++
			}
		}
	}
	if pairs != 55 || direct != 48 {
		t.Errorf("%d of %d pairs direct, want 48 of 55", direct, pairs)
	}
}

// meeting is how two agents got together.
type meeting struct {
	crossed string        // plain, or the strategy of the search; "": relayed
	after   time.Duration // from the first packet on; 0: relayed
	probes  int           // sent by both
	answers int           // to the first one's packets
	story   string
}

// meet has two agents talk for a while in a world of their own.
func meet(t *testing.T, seed uint64, x, y nattest.Kind, span time.Duration) (m meeting) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldWith(t, nattest.Config{Seed: seed})
		defer w.close()
		w.addServer()
		a, b := w.addByTLS("alice", x.NATs), w.addByTLS("bob", y.NATs)
		time.Sleep(5 * time.Second)
		b.echo = true
		start := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			a.stream(b, 50*time.Millisecond, span)
		}()
		for m.crossed == "" && time.Since(start) < span {
			if a.directTo(b) && b.directTo(a) {
				m.crossed, m.after = "plain", time.Since(start)
			}
			time.Sleep(5 * time.Millisecond)
		}
		for _, tried := range slices.Concat(a.path(b).Attempts, b.path(a).Attempts) {
			if m.crossed != "" && tried.Strategy != "" {
				m.crossed = tried.Strategy
			}
		}
		m.probes = a.path(b).probes() + b.path(a).probes()
		<-done
		time.Sleep(200 * time.Millisecond)
		for _, p := range []PeerStatus{a.path(b), b.path(a)} {
			if p.Path == ViaDirect && !slices.ContainsFunc(p.Attempts, func(x Attempt) bool { return x.tried(p.Addr) }) {
				t.Errorf("%v is used, and in no attempt: %+v", p.Addr, p.Attempts)
			}
		}
		m.answers = len(a.arrivals())
		m.story = fmt.Sprintf("alice to bob: %+v\nbob to alice: %+v", a.path(b), b.path(a))
	})
	return m
}

func (a Attempt) tried(addr netip.AddrPort) bool {
	return slices.ContainsFunc(a.Tried, func(t Tried) bool { return t.Addr == addr && t.Heard })
}

// probes sums up what the attempts at a path sent.
func (p PeerStatus) probes() int {
	n := 0
	for _, a := range p.Attempts {
		n += a.Spent
		for _, t := range a.Tried {
			n += t.Probes
		}
	}
	return n
}

// addByTLS starts an agent that may use a stream to the hub.
func (w *world) addByTLS(name string, nats []nattest.NAT) *agent {
	host, sites := w.net.Place(access, nats...)
	a := w.start(name, host, func(c *Config) { c.DialWebSocket = w.hub.dial(c.Relay.ID) })
	a.sites = sites
	return a
}

// addServer adds a STUN server at a second address, so that mapping by address
// shows. Those who start after it ask it, too.
func (w *world) addServer() {
	host := w.net.Host(nattest.Link{Delay: time.Millisecond}, netip.MustParsePrefix("203.0.113.2/32"))
	addr := netip.AddrPortFrom(host.Addr(), 3478)
	s, err := host.Listen(addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.servers = append(w.servers, addr)
	go func() {
		bufs, sizes, from := [][]byte{make([]byte, 2048)}, []int{0}, make([]netip.AddrPort, 1)
		for {
			if _, err := s.Read(bufs, sizes, from); err != nil {
				return
			}
			if r, ok := stun.Respond(bufs[0][:sizes[0]], from[0], addr, netip.AddrPort{}); ok {
				s.Write([][]byte{r.Data}, from[0])
			}
		}
	}()
}
