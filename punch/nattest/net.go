package nattest

import (
	"cmp"
	"container/heap"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// DefaultHops is the number of routers in the core unless [Config] says
// otherwise: enough for a probe with a hop limit of 5 to leave a double NAT and
// still die before it touches the far gateway.
const DefaultHops = 6

// stackDelay is what a host takes to put a packet on the wire. It is above zero
// so that all writes of one instant are ordered before the first has an effect.
const stackDelay = time.Microsecond

// Config says how a [Net] behaves. The zero value is useful.
type Config struct {
	Seed uint64 // the same seed gives the same course of events in a bubble
	Hops int    // routers between any two attachments of the core; 0 means [DefaultHops]

	// Trace, unless nil, is told of each step of each packet, in a line.
	Trace func(line string)
	// Delivered, unless nil, is told of each packet handed to a socket. It must
	// not call the net, and must not keep the payload.
	Delivered func(from, to *Host, p Packet)
}

// Net is an internet in memory. Its own segment is the core. All methods of all
// types of this package are safe for concurrent use.
type Net struct {
	*Segment
	config Config
	start  time.Time

	mu     sync.Mutex // guards following, and all hosts, sites and links
	queue  events
	timer  *time.Timer // nil until the first event
	busy   bool        // in run
	closed bool
	hosts  []*Host
	placed int // kinds placed, see Place
	cuts   map[pair]bool
	counts counts
}

type pair struct{ from, to netip.Addr }

// New returns an empty internet. It starts nothing; time passes once a packet is
// sent. Within a bubble, call it in the bubble and Close before the bubble ends.
func New(c Config) *Net {
	if c.Hops == 0 {
		c.Hops = DefaultHops
	}
	n := &Net{config: c, start: time.Now(), cuts: map[pair]bool{}, counts: newCounts()}
	n.Segment = &Segment{net: n, hops: c.Hops}
	return n
}

// Close closes all sockets and forgets the packets on their way.
func (n *Net) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	n.queue = nil
	if n.timer != nil {
		n.timer.Stop()
	}
	for _, h := range n.hosts {
		for _, s := range h.sockets {
			s.shut()
		}
		for _, d := range h.doors {
			d.shut()
		}
	}
	return nil
}

// Cut drops what goes between two addresses, both ways, until Heal. The
// addresses are those that packets carry on a segment, the core or another.
func (n *Net) Cut(a, b netip.Addr) {
	n.CutOneWay(a, b)
	n.CutOneWay(b, a)
}

// CutOneWay drops what goes from one address to the other, until Heal.
func (n *Net) CutOneWay(from, to netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[pair{from, to}] = true
}

// Heal undoes Cut and CutOneWay, both ways.
func (n *Net) Heal(a, b netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cuts, pair{a, b})
	delete(n.cuts, pair{b, a})
}

// event is the next step of one packet. No packet has more than one pending.
type event struct {
	at   time.Time
	p    *packet
	step func(*packet)
}

// after has p take its next step in d. The caller holds n.mu.
func (n *Net) after(d time.Duration, p *packet, step func(*packet)) {
	if n.closed {
		return
	}
	heap.Push(&n.queue, event{time.Now().Add(d), p, step})
	if !n.busy && n.queue[0].p == p {
		n.arm(d)
	}
}

// arm sets the one timer to the earliest event, which is in the future: a bubble runs
// a timer that is due within the call that sets it, and the race detector of Go 1.26
// may crash then.
func (n *Net) arm(d time.Duration) {
	if n.timer == nil {
		n.timer = time.AfterFunc(d, n.run)
		return
	}
	n.timer.Reset(d)
}

// run takes all steps that are due.
func (n *Net) run() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.busy = true
	defer func() { n.busy = false }()
	for len(n.queue) > 0 {
		wait := time.Until(n.queue[0].at)
		if wait > 0 {
			n.arm(wait)
			return
		}
		e := heap.Pop(&n.queue).(event)
		e.step(e.p)
	}
}

// trace tells where p is and what becomes of it.
func (n *Net) trace(p *packet, where fmt.Stringer, what string) {
	if n.config.Trace == nil {
		return
	}
	n.config.Trace(fmt.Sprintf("%-12v %-24s %v → %v ttl %d len %d: %s",
		time.Since(n.start), where, p.Src, p.Dst, p.TTL, len(p.Payload), what))
}

// drop ends p.
func (n *Net) drop(p *packet, where fmt.Stringer, reason string) {
	n.counts.drops[reason]++
	n.trace(p, where, "dropped: "+reason)
}

// events is a heap, the earliest first; those of one instant in the order that
// their packets were given when sent.
type events []event

func (q events) Len() int      { return len(q) }
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q events) Less(i, j int) bool {
	return cmp.Or(q[i].at.Compare(q[j].at), cmp.Compare(q[i].p.id, q[j].p.id)) < 0
}
func (q *events) Push(e any) { *q = append(*q, e.(event)) }
func (q *events) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = event{}
	*q = (*q)[:last]
	return e
}
