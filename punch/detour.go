package punch

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// A relay replaces one that works when it is quicker by a fifth and by 2 ms,
	// three answers in a row. The other way back is as long.
	quickerRatio   = 0.8
	quickerBy      = 2 * time.Millisecond
	quickerSamples = 3
	// tlsPenalty is on the round-trip time of a relay that is reached over TLS:
	// one loss there delays everything behind it.
	tlsPenalty = 1.5

	firstMeasures = 5 * time.Second  // relays are measured at each freshBeat at first, then at each busyBeat
	knownFor      = 30 * time.Second // an answer this old still says that a relay works
)

// detour decides which relay carries what can't go directly to one peer: the
// hub, or a peer that both ends reach directly and let relay. Like [path] it is
// told what happens and says what to do. Unsafe for concurrent use.
//
//	            data                PONG by the relay in use
//	at rest ───────────▶ doubtful ──────────────────────────▶ sure
//	   ▲                  │   ▲ │ no answer: another one       │
//	   │ none for 10 s    │   │ └────────────┐                 │
//	   └──────────────────┘   └──────────────┴──── silence ────┘
//
// Until it is sure, data takes a second relay as well. While there is but one
// relay, nothing is asked and nothing is measured.
type detour struct {
	rand    *rand.Rand
	relays  []*carrier // usable now
	cur     *carrier   // nil: there is none
	watch   *watch     // of cur, while data flows and there is a choice; else nil
	lost    bool       // nobody answers: data takes two relays, and all are asked at times
	pings   map[uint64]pingedBy
	began   time.Time // data flows since
	data    time.Time // last data by relay, either way
	measure time.Time // when the others are asked next; zero: never

	since  time.Time // cur is in use since
	reason string

	out []detourAction
}

// carrier is a relay as one peer's detour sees it.
type carrier struct {
	relayOffer
	rtt    rtt       // to the peer, by this relay there and back
	proven time.Time // last PONG; zero: never
	better int       // PONGs in a row by which it beat the one in use
}

// relayOffer is a relay that can be used.
type relayOffer struct {
	key  Key           // zero: the hub
	via  Via           // ViaRelay, or ViaTLS to the hub
	near time.Duration // round-trip time to the relay itself; 0: not measured
}

type pingedBy struct {
	key Key
	at  time.Time
}

// detourEvent is what a detour reacts to.
type detourEvent interface{ isDetourEvent() }

type (
	// relaysChanged: these can be used now, the hub first if it can.
	relaysChanged struct{ relays []relayOffer }
	// carried: packets of data moved by relay since the last such event.
	carried struct{ sent, returned bool }
	// measured: the PONG to a ping of the detour came.
	measured struct{ txid uint64 }
	// detourTimer: the deadline passed.
	detourTimer struct{}
)

func (relaysChanged) isDetourEvent() {}
func (carried) isDetourEvent()       {}
func (measured) isDetourEvent()      {}
func (detourTimer) isDetourEvent()   {}

// detourAction is what a detour wants done.
type detourAction interface{ isDetourAction() }

type (
	// pingBy sends a PING by a relay.
	pingBy struct {
		key  Key
		txid uint64
	}
	// takeDetour swaps the relays that the packet path uses.
	takeDetour struct{ detourChoice }
	// doubtHub has the session with the hub renewed: it may be gone.
	doubtHub struct{}
)

func (pingBy) isDetourAction()     {}
func (takeDetour) isDetourAction() {}
func (doubtHub) isDetourAction()   {}

// detourChoice is which relay data takes, and which other one as well.
type detourChoice struct {
	via  Via // ViaNone: no relay
	key  Key
	also bool
	next Key // of also
}

func newDetour(seed uint64) *detour {
	return &detour{rand: rand.New(rand.NewPCG(seed, 1)), pings: make(map[uint64]pingedBy)}
}

// step takes in one event and returns what to do.
func (d *detour) step(now time.Time, ev detourEvent) []detourAction {
	d.out = nil
	before := d.choice(now)
	switch ev := ev.(type) {
	case relaysChanged:
		d.takeRelays(now, ev.relays)
	case carried:
		d.takeData(now, ev)
	case measured:
		d.takePong(now, ev.txid)
	}
	d.run(now)
	if c := d.choice(now); c != before {
		d.out = append(d.out, takeDetour{c})
	}
	return d.out
}

// choice is what the packet path should do.
func (d *detour) choice(now time.Time) detourChoice {
	if d.cur == nil {
		return detourChoice{}
	}
	c := detourChoice{via: d.cur.via, key: d.cur.key}
	if next := d.second(now); next != nil && d.doubtful() {
		c.also, c.next = true, next.key
	}
	return c
}

// doubtful reports whether data needs a second relay. At rest it does: the first
// words must not be lost to a relay that died meanwhile.
func (d *detour) doubtful() bool { return d.watch == nil || !d.watch.suspect.IsZero() }

// second is the relay to use beside or after the one in use; nil: there is none.
func (d *detour) second(now time.Time) *carrier {
	var best *carrier
	for _, c := range d.relays {
		if c != d.cur && (best == nil || c.before(now, best)) {
			best = c
		}
	}
	return best
}

// before orders relays: those that answered lately, by how quick they are; then
// the hub, then the others by how near they are.
func (c *carrier) before(now time.Time, o *carrier) bool {
	switch a, b := c.answered(now), o.answered(now); {
	case a != b:
		return a
	case a:
		return c.cost() < o.cost()
	}
	hub := Key{}
	if c.key == hub || o.key == hub {
		return c.key == hub
	}
	return c.near < o.near
}

func (c *carrier) answered(now time.Time) bool {
	return !c.proven.IsZero() && now.Sub(c.proven) < knownFor
}

// cost is the round-trip time by which relays are compared.
func (c *carrier) cost() time.Duration {
	if c.via == ViaTLS {
		return time.Duration(tlsPenalty * float64(c.rtt.estimate()))
	}
	return c.rtt.estimate()
}

// takeRelays keeps what is known of those that stay.
func (d *detour) takeRelays(now time.Time, list []relayOffer) {
	old := d.relays
	d.relays = nil
	for _, o := range list {
		c := &carrier{}
		if i := slices.IndexFunc(old, func(c *carrier) bool { return c.key == o.key && c.via == o.via }); i >= 0 {
			c = old[i]
		}
		c.relayOffer = o
		d.relays = append(d.relays, c)
	}
	if d.cur == nil || !slices.Contains(d.relays, d.cur) {
		gone := d.cur != nil
		d.cur = nil
		if next := d.second(now); next != nil {
			d.use(now, next, map[bool]string{true: "the relay before is gone", false: "first relay"}[gone])
		}
	}
	switch {
	case len(d.relays) < 2:
		d.rest()
	case d.watch != nil || d.lost:
		d.measure = now
	}
}

// use makes c the relay in use. One that has not answered lately is doubtful.
func (d *detour) use(now time.Time, c *carrier, reason string) {
	d.cur, d.since, d.reason = c, now, reason
	for _, c := range d.relays {
		c.better = 0
	}
	if d.watch != nil || d.lost {
		d.attend(now)
	}
}

// attend begins to watch the relay in use.
func (d *detour) attend(now time.Time) {
	d.lost = false
	d.watch = newWatch(now, &d.cur.rtt, d.rand.Float64())
	if !d.cur.answered(now) {
		d.watch.doubt(now)
	}
}

// rest ends all asking.
func (d *detour) rest() { d.watch, d.lost, d.measure = nil, false, time.Time{} }

func (d *detour) takeData(now time.Time, ev carried) {
	if len(d.relays) < 2 || !ev.sent && d.watch == nil {
		return
	}
	d.data = now
	if d.watch == nil && !d.lost {
		d.began, d.measure = now, now
		d.attend(now)
	}
	if d.watch != nil {
		d.watch.flow(now, ev.sent, ev.returned)
	}
}

func (d *detour) takePong(now time.Time, txid uint64) {
	asked, ok := d.pings[txid]
	if !ok {
		return
	}
	delete(d.pings, txid)
	i := slices.IndexFunc(d.relays, func(c *carrier) bool { return c.key == asked.key })
	if i < 0 {
		return
	}
	c := d.relays[i]
	c.rtt.sample(now.Sub(asked.at))
	c.proven = now
	switch {
	case d.lost && c == d.cur:
		d.attend(now)
	case d.lost:
		d.use(now, c, "the first to answer again")
	case c == d.cur && d.watch != nil:
		d.watch.proof(now)
	case c != d.cur && d.watch != nil && d.watch.suspect.IsZero() && c.beats(d.cur):
		d.use(now, c, fmt.Sprintf("%v instead of %v", c.rtt.smooth.Round(100*time.Microsecond), d.cur.rtt.smooth.Round(100*time.Microsecond)))
	}
}

// beats reports whether c should replace cur, which works. It is asked at each
// PONG of c.
func (c *carrier) beats(cur *carrier) bool {
	mine, its := c.cost(), cur.cost()
	if cur.rtt.smooth == 0 || float64(mine) > quickerRatio*float64(its) || its-mine < quickerBy {
		c.better = 0
		return false
	}
	c.better++
	return c.better >= quickerSamples
}

// run does what is due.
func (d *detour) run(now time.Time) {
	if (d.watch != nil || d.lost) && now.Sub(d.data) >= busyFor {
		d.rest()
	}
	d.runWatch(now)
	if !d.measure.IsZero() && !now.Before(d.measure) {
		gap := busyBeat
		if now.Sub(d.began) < firstMeasures {
			gap = freshBeat
		}
		d.measure = now.Add(gap)
		for _, c := range d.relays {
			if c != d.cur || d.lost || d.watch.suspect.IsZero() { // else the watch asks
				d.ping(now, c)
			}
		}
	}
}

func (d *detour) runWatch(now time.Time) {
	for d.watch != nil {
		switch d.watch.due(now) {
		case orderNothing:
			return
		case orderPing:
			d.ping(now, d.cur)
		case orderSuspect:
			d.measure = now
			if d.cur.key == (Key{}) {
				d.out = append(d.out, doubtHub{})
			}
		case orderLost:
			d.giveUp(now)
		}
	}
}

// giveUp leaves a relay that does not answer for one that does.
func (d *detour) giveUp(now time.Time) {
	silent, asked := now.Sub(d.watch.heard), d.watch.suspect
	d.cur.proven = time.Time{}
	next := d.second(now)
	if !next.answered(now) {
		d.watch, d.lost = nil, true
		return
	}
	d.use(now, next, fmt.Sprintf("the relay before was silent for %v", silent.Round(100*time.Millisecond)))
	if next.proven.Before(asked) {
		d.watch.doubt(now)
	}
}

func (d *detour) ping(now time.Time, c *carrier) {
	for id, q := range d.pings {
		if now.Sub(q.at) > pingMemory {
			delete(d.pings, id)
		}
	}
	id := d.rand.Uint64() &^ pingerBit
	d.pings[id] = pingedBy{c.key, now}
	d.out = append(d.out, pingBy{c.key, id})
}

// attentive reports whether data is being waited for, so that the counters must
// be looked at often.
func (d *detour) attentive() bool { return d.watch != nil && !d.watch.unproven.IsZero() }

// deadline is when the detour wants a timer event; zero: never.
func (d *detour) deadline() time.Time {
	if d.watch == nil && !d.lost {
		return time.Time{}
	}
	at := earlier(d.measure, d.data.Add(busyFor))
	if d.watch != nil {
		at = earlier(at, d.watch.deadline())
	}
	return at
}
