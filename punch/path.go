package punch

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"meshd/punch/wire"
)

// Times of a path.
const (
	pingMemory  = 10 * time.Second // a PONG later than this proves nothing
	activeFor   = 5 * time.Minute  // peers with data within this are served first after a change
	relayedFor  = 30 * time.Second // relayed data within this makes it worth trying again
	sleepAfter  = 2 * time.Minute  // an idle path that is not kept warm gets no more heartbeats
	yieldFor    = time.Second      // who is to begin second waits this long for the other
	yieldFirst  = 300 * time.Millisecond
	freshCalled = 2 * time.Second // candidates of a CONNECT this old give way to the map's
	provenFor   = 5 * time.Minute // a leg proven within this needs no check when heard
)

// path decides how one peer is reached. It has no clock, no socket and no log:
// step tells it what happened, and it says what to do. Unsafe for concurrent
// use.
//
//	          PING heard               PONG heard
//	relayed ─────────────▶ tentative ─────────────▶ direct ◀───────┐
//	   ▲                       │ nothing more          │ silence    │ PONG
//	   │                       ▼                       ▼            │
//	   └───────────────────────┴────── no answer ── suspect ────────┘
//
// Data goes by relay while relayed, over the route while direct, and over both
// while tentative or suspect.
type path struct {
	lower bool // our key is the lower one: we begin
	rand  *rand.Rand

	self   selfChanged
	peer   peerChanged
	relay  relayChanged
	called []wire.Candidate // from the peer's last CONNECT: fresher than the map
	callAt time.Time

	cur       *leg // in use; nil: relayed
	confirmed bool // cur answered a PING of ours
	watch     *watch
	rest      rest
	asleep    bool  // cur is idle and unwatched
	dear      bool  // a search of ours found cur: it does not sleep
	last      route // given up last; used when there is no relay either
	legs      legs
	pings     map[uint64]pinged // unanswered PINGs by transaction

	try      *attempt // running; nil: none
	tried    []Attempt
	failures int // attempts in a row without success
	retryAt  time.Time
	quiet    bool // no data flowed during the last attempt
	warm     bool
	turn     time.Time // from when on a warm path may begin …
	startAt  time.Time // … and when its first attempt does

	// Searching, see search.
	search  *search
	sockets []socketID // opened for this path and not closed
	seekAt  time.Time  // when the running attempt turns to a search; zero: not
	asked   time.Time  // a user measured the path
	left    socketID   // was used before cur's
	homed   time.Time  // last try to go back from new sockets to the usual ones
	budget  budget     // of birthday searches
	rate    int        // of their probes, a second; below 0: none are made
	wide    bool       // the peer's port block is not believed

	trial trial                        // whether data comes through where probes do
	muted map[netip.AddrPort]time.Time // where it was found not to, and until when to believe it

	lastData    time.Time // sent to us for the peer
	lastRelayed time.Time // moved by relay
	standbyAt   time.Time

	since  time.Time // direct or relayed since
	reason string

	out []action // of the running step
}

type pinged struct {
	to route
	at time.Time
}

func newPath(now time.Time, lower bool, seed uint64) *path {
	return &path{
		lower: lower, rand: rand.New(rand.NewPCG(seed, 0)),
		legs: make(legs), pings: make(map[uint64]pinged),
		since: now, reason: untried, rate: defaultRate,
	}
}

// step takes in one event and returns what to do.
func (p *path) step(now time.Time, ev event) []action {
	p.out = nil
	before := p.choice()
	p.take(now, ev)
	p.run(now)
	closed := p.tidy(now)
	if c := p.choice(); c != before {
		p.out = append(p.out, use{c})
	}
	return append(p.out, closed...)
}

func (p *path) take(now time.Time, ev event) {
	switch ev := ev.(type) {
	case peerChanged:
		p.takePeer(now, ev)
	case selfChanged:
		p.takeSelf(now, ev)
	case warmed:
		p.takeWarmed(now, ev)
	case relayChanged:
		p.takeRelay(now, ev)
	case heard:
		p.takeProbe(now, ev.msg, ev.from)
	case traffic:
		p.takeTraffic(now, ev)
	case sendFailed:
		if p.healthy() {
			p.doubt(now)
			p.alarm()
		}
	case linkChanged:
		p.takeLink(now)
	case asked:
		p.asked = now
		p.wanted(now, "ping")
	case sought:
		p.wanted(now, "asked for")
	case mirror:
		p.takeMirror(now, ev.to)
	case opened:
		p.takeOpened(now, ev)
	case gauged:
		p.takeGauged(now, ev)
	case granted:
		p.takeGranted(now, ev.ok)
	case rated:
		p.takeRate(now, ev.rate)
	}
}

// wanted begins an attempt if none was made yet, or if the last one was spared a
// search for want of data.
func (p *path) wanted(now time.Time, why string) {
	if p.cur == nil && p.try == nil && (p.retryAt.IsZero() || p.quiet && p.maySeek(now)) {
		p.begin(now, why, true)
	}
}

// choice is what the packet path should do.
func (p *path) choice() choice {
	switch {
	case p.cur == nil && p.relay.via == ViaNone:
		return choice{p.last, true} // dead, maybe, and still the best there is
	case p.cur == nil:
		return choice{route{}, true}
	}
	return choice{p.cur.route, !p.healthy() || p.trial.running()}
}

// healthy reports whether data goes over the route alone.
func (p *path) healthy() bool {
	return p.cur != nil && p.confirmed && !p.asleep && p.watch.suspect.IsZero()
}

// busy reports whether data for the peer passed within d.
func (p *path) busy(now time.Time, d time.Duration) bool {
	return !p.lastData.IsZero() && now.Sub(p.lastData) < d
}

// wantsPath reports whether a direct path is worth looking for unasked.
func (p *path) wantsPath(now time.Time) bool {
	return p.warm || p.cur != nil || p.busy(now, activeFor)
}

func (p *path) jitter(d time.Duration) time.Duration { return time.Duration(p.rand.Int64N(int64(d))) }

// run does what is due.
func (p *path) run(now time.Time) {
	p.runStart(now)
	p.runHome(now)
	p.runSearch(now)
	p.runAttempt(now)
	p.runWatch(now)
	p.runTrial(now)
	p.runStandby(now)
}

func (p *path) runStart(now time.Time) {
	switch {
	case p.try != nil || p.cur != nil:
		p.startAt = time.Time{}
	case !p.startAt.IsZero() && !now.Before(p.startAt):
		p.begin(now, "joined", true)
	case !p.retryAt.IsZero() && !now.Before(p.retryAt):
		p.retryAt = time.Time{} // from here on traffic alone starts one
		if p.warm && p.failures < len(retries) || p.needed(now) {
			p.begin(now, "retry", true)
		}
	}
}

func (p *path) runWatch(now time.Time) {
	for p.cur != nil && !p.asleep {
		switch p.watch.due(now) {
		case orderNothing:
			return
		case orderPing:
			if p.idle(now) {
				p.asleep = true
				return
			}
			p.pingDoubtful(now)
		case orderSuspect:
			p.alarm()
		case orderLost:
			p.lose(now)
		}
	}
}

// idle reports whether nobody needs the path, so that it may go to sleep.
func (p *path) idle(now time.Time) bool {
	return !p.warm && !p.dear && p.confirmed && !p.busy(now, sleepAfter) && now.Sub(p.watch.since) > sleepAfter
}

// pingDoubtful asks the route in use, and when it is suspect the others too.
func (p *path) pingDoubtful(now time.Time) {
	p.ping(now, p.cur.route)
	if p.watch.suspect.IsZero() {
		return
	}
	for _, l := range p.legs {
		if l != p.cur && !l.proven.IsZero() && now.Sub(l.proven) < provenFor {
			p.ping(now, l.route)
		}
	}
}

// runStandby measures proven routes beside the one in use while data flows.
func (p *path) runStandby(now time.Time) {
	if !p.healthy() || !p.busy(now, busyFor) || now.Before(p.standbyAt) {
		return
	}
	p.standbyAt = now.Add(busyBeat)
	for _, l := range p.legs {
		if l != p.cur && !l.proven.IsZero() && now.Sub(l.proven) < time.Minute {
			p.ping(now, l.route)
		}
	}
}

// deadline is when the path wants a timer event; zero: never.
func (p *path) deadline() time.Time {
	d := p.startAt
	if p.try != nil {
		d = earlier(d, p.try.deadline(p.relay.via != ViaNone))
	} else if p.cur == nil {
		d = earlier(d, p.retryAt)
	}
	d = earlier(d, p.seekAt)
	if p.search != nil {
		d = earlier(d, p.search.deadline())
	}
	d = earlier(d, p.tidyAt())
	d = earlier(d, p.homeAt())
	if p.cur != nil && !p.asleep {
		d = earlier(d, p.watch.deadline())
	}
	if p.healthy() {
		d = earlier(d, p.trial.deadline(p.trialRTT()))
	}
	return d
}

// attentive reports whether data on the path is being waited for, so that its
// counters must be looked at often.
func (p *path) attentive() bool {
	return p.cur != nil && !p.asleep && !p.watch.unproven.IsZero()
}
