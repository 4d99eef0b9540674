package punch

import (
	"net/netip"
	"slices"
	"time"

	"meshd/punch/wire"
)

// The schedule of a search.
const (
	seekSpan     = 2 * time.Second        // without an answer to SEEK it is over
	predictPace  = 2 * time.Millisecond   // between predicted ports
	predictSpan  = time.Second            // of the seeker's rounds, below
	callSlack    = 500 * time.Millisecond // from READY to the first probe
	volleyGrace  = time.Second            // for the answer to the last probe
	settleSpan   = 3 * time.Second        // for the chosen socket to be confirmed
	gaugeSpan    = 700 * time.Millisecond // for the relay to say both ports of a gauge
	volleyMaxLag = 2                      // probes that a late timer may catch up with
)

// seeks is when SEEK is sent while it is not answered, asks when a gauge is.
var (
	seeks = [...]time.Duration{0, 300 * time.Millisecond, 900 * time.Millisecond}
	asks  = [...]time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond}
)

// rounds is when predicted ports are probed, again for the sake of lost probes.
var rounds = [...]time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond, 700 * time.Millisecond}

// volley is a series of probes, one over each line, at a pace.
type volley struct {
	at   time.Time // of the first one
	typ  wire.ProbeType
	ttl  int
	pace time.Duration
	next int
}

// search is one side's part of a try to cross a hard pair. It has no clock and
// sends nothing; the path does.
//
//	seeker                           holder
//	  | [sockets, gauge]               |
//	  | SEEK ────────────────────────► | sockets, gauge, OPEN over all lines
//	  | ◄─────────────────────── READY |
//	  | [sockets]                      |
//	  | PING over all lines ═════════► | the first one heard is the path
//
// What is in brackets happens only if the seeker's NAT is hard as well; then it
// is the seeker who chooses among its sockets, and the holder follows.
type search struct {
	plan
	id      uint64 // of the seeker's choice, the same on both sides
	peerNAT wire.NAT
	selfNAT wire.NAT

	lines   []route          // what is probed, out of which socket
	sockets []socketID       // opened for it, and not the gauges
	gauges  []socketID       // opened to see which port comes next
	gauged  []uint16         // which it was; 0: not known yet
	askedAt time.Time        // the gauges were first asked
	asked   int              // how often
	calling bool             // SEEK is being sent
	callAt  time.Time        // since
	called  int              // how often
	said    []uint16         // samples of our SEEK or READY
	ready   bool             // holder: READY was sent
	aims    []netip.AddrPort // where our sockets, yet to be opened, send to
	volleys []volley
	end     time.Time

	paused bool     // a route is being tried; it may be the one
	spent  int      // probes over lines
	winner socketID // 0: none yet
}

// chooses reports whether the first probe heard decides which socket it is. The
// other side decides by the answer to a probe of its own: only over the chosen
// socket one comes.
func (s *search) chooses() bool { return s.seeks == (s.strategy == predictBoth) }

// has reports whether a socket belongs to the search and may still win.
func (s *search) has(id socketID) bool {
	if s.winner != 0 {
		return id == s.winner
	}
	return slices.Contains(s.sockets, id)
}

// holds reports whether a socket is not to be closed.
func (s *search) holds(id socketID) bool {
	return s.has(id) || s.winner == 0 && len(s.said) == 0 && slices.Contains(s.gauges, id)
}

// due returns the probes whose time has come.
func (s *search) due(now time.Time) []sendProbe {
	var out []sendProbe
	if s.paused {
		return nil
	}
	for i := range s.volleys {
		v := &s.volleys[i]
		if late := now.Sub(v.nextAt()); late > volleyMaxLag*v.pace && v.pace > 0 {
			v.at = v.at.Add(late)
		}
		for v.next < len(s.lines) && !now.Before(v.nextAt()) {
			out = append(out, sendProbe{typ: v.typ, ttl: v.ttl, to: s.lines[v.next]})
			v.next++
		}
	}
	s.spent += len(out)
	return out
}

func (v *volley) nextAt() time.Time { return v.at.Add(time.Duration(v.next) * v.pace) }

// nextProbe is when due has something to return; zero: never.
func (s *search) nextProbe() time.Time {
	var d time.Time
	if s.paused {
		return d
	}
	for _, v := range s.volleys {
		if v.next < len(s.lines) {
			d = earlier(d, v.nextAt())
		}
	}
	return d
}

// linesFrom probes every aim out of one socket.
func (s *search) linesFrom(id socketID) {
	s.lines = nil
	for _, a := range s.aims {
		s.lines = append(s.lines, route{id, a})
	}
}

// pairLines gives each socket one aim, or all of them the only one there is.
func (s *search) pairLines() {
	s.lines = nil
	for i, id := range s.sockets {
		at := i
		switch {
		case s.strategy != predictBoth:
			at = 0
		case s.seeks:
			at = stagger(s.selfNAT, i)
		}
		if at < len(s.aims) {
			s.lines = append(s.lines, route{id, s.aims[at]})
		}
	}
}

// begun reports whether both sides take part.
func (s *search) begun() bool { return len(s.volleys) > 0 || s.winner != 0 }

// waits reports whether the peer did not answer yet. It may be busy with a search
// for somebody else: right after a host joins, all want it.
func (s *search) waits() bool { return s.strategy == birthday && s.seeks && !s.begun() }

// call has SEEK sent.
func (s *search) call(now time.Time) { s.calling, s.callAt, s.end = true, now, now.Add(seekSpan) }

// gaugeWith has the relay tell the ports of these sockets.
func (s *search) gaugeWith(now time.Time, ids []socketID) {
	s.gauges, s.gauged, s.askedAt = ids, make([]uint16, len(ids)), now
}

// nextCall is when SEEK is due; zero: no more.
func (s *search) nextCall() time.Time {
	if !s.calling || s.called == len(seeks) {
		return time.Time{}
	}
	return s.callAt.Add(seeks[s.called])
}

// nextAsk is when the gauges are to be asked; zero: no more.
func (s *search) nextAsk() time.Time {
	if len(s.gauges) == 0 || len(s.said) > 0 || s.asked == len(asks) {
		return time.Time{}
	}
	return s.askedAt.Add(asks[s.asked])
}

// gaugeEnd is when the gauges are no longer waited for; zero: they are not.
func (s *search) gaugeEnd() time.Time {
	if len(s.gauges) == 0 || len(s.said) > 0 {
		return time.Time{}
	}
	return s.askedAt.Add(gaugeSpan)
}

// take notes the port of a gauge, and reports whether all are known.
func (s *search) take(id socketID, port uint16) bool {
	if i := slices.Index(s.gauges, id); i >= 0 {
		s.gauged[i] = port
	}
	return !slices.Contains(s.gauged, 0)
}

// deadline is when the search has something to do next.
func (s *search) deadline() time.Time {
	d := earlier(s.end, s.nextProbe())
	d = earlier(d, s.nextCall())
	d = earlier(d, s.nextAsk())
	return earlier(d, s.gaugeEnd())
}

// open plans the probes of a holder: they open our NAT and die before they reach
// the peer's, which could take offence. Once the seeker is through, others go all
// the way, for its NAT is open where it probed: in case that the first died too
// early, or that the one probe which met us was lost.
func (s *search) open(now time.Time) {
	s.pairLines()
	last := now.Add(s.lasts())
	s.volleys = []volley{
		{at: now, typ: wire.Open, ttl: openerTTL},
		{at: last, typ: wire.Ping, pace: predictPace},
	}
	s.end = last.Add(predictPace*time.Duration(len(s.lines)) + volleyGrace)
}

// probe plans the probes of a seeker.
func (s *search) probe(now time.Time, rate int) {
	s.calling = false
	if s.strategy == birthday {
		pace := time.Second / time.Duration(rate)
		s.volleys = []volley{{at: now, typ: wire.Ping, pace: pace}}
		s.end = now.Add(pace*time.Duration(len(s.lines)) + volleyGrace)
		return
	}
	s.volleys = nil
	for _, d := range rounds {
		s.volleys = append(s.volleys, volley{at: now.Add(d), typ: wire.Ping, pace: predictPace})
	}
	s.end = now.Add(rounds[len(rounds)-1] + predictPace*time.Duration(len(s.lines)) + volleyGrace)
}

// lasts is how long it takes the seeker to be through. Its rate is unknown; the
// usual one stands for it.
func (s *search) lasts() time.Duration {
	if s.strategy != birthday {
		return predictSpan
	}
	return time.Second/defaultRate*time.Duration(birthdayProbes(s.selfNAT)) + callSlack
}

// choose ends the looking: this socket it is.
func (s *search) choose(now time.Time, id socketID) {
	s.winner, s.volleys, s.calling = id, nil, false
	s.end = now.Add(settleSpan)
}
