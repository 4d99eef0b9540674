package punch

import (
	"maps"
	"time"
)

// Times of a sizer.
const (
	sizeGap    = 150 * time.Millisecond // between two goes at the largest size
	sizeGoes   = 3
	sizeWait   = 150 * time.Millisecond // for answers, at least; later ones count nevertheless
	sizeRetry  = 2 * time.Second        // first wait when the way itself did not answer
	sizeAgain  = 10 * time.Minute       // until a way is measured anew
	sizeLower  = 2 * time.Minute        // the same, of a way that carries less than the largest
	sizeLooks  = time.Second            // between the looks of a peer, at least
	sizeBeat   = 5 * time.Second        // between checks of a way that starves all the time
	sizeRelief = time.Second            // the same, of one that was fed in between
	sizeHurry  = 150 * time.Millisecond // the same, after one that was not answered
	sizeMissed = 2                      // checks without an answer until the size is doubted
)

// sizeFloor is believed of a way that swallows everything between it and a small
// probe: an IPv4 path of 576 bytes, the least that RFC 791 promises.
const sizeFloor = 544

// sizes are tried when the largest does not get through. A WireGuard packet is 32
// bytes and a multiple of 16, so steps of 16 lose nothing. From 1200 down to what
// an IPv6 path of 1280 carries by relay they are dense, since tunnels and PPPoE
// take their few bytes there.
var sizes = func() (list []int) {
	for n := 1440; n >= 1200; n -= 16 {
		list = append(list, n)
	}
	return append(list, 1120, 992, 800, sizeFloor, 0)
}()

// sizer finds out how large a datagram one way to a peer carries: packetization
// layer path MTU discovery (RFC 8899) with padded PINGs that must not be
// fragmented. It trusts no ICMP, which anyone can forge and many drop. It has no
// clock and no socket: next says what to send, answered what came back.
//
//	top ── answer ──▶ known ── from time to time, or a check fails ──┐
//	 │ only the small probe is answered                              │
//	 ▼                                                               │
//	ladder: all sizes at once ── the largest answered ──▶ known      │
//	 ▲ the system refuses                                            │
//	 └──────────────────────────────────────── known ────▶ top ◀─────┘
type sizer struct {
	top   int   // the largest size of interest
	rungs []int // of the ladder
	known int   // what the way carries; 0: not known

	stage  sizeStage
	goes   int // of this stage
	at     time.Time
	asked  map[uint64]int // sizes by transaction
	best   int            // answered in this stage; 0: nothing, not even the small one
	backup time.Duration  // wait when the way did not answer at all

	checkAt time.Time // of a way that starves
	missed  int
	check   uint64    // transaction of the last check; 0: answered …
	checked time.Time // … then

	looked time.Time // when the peer last looked for what fits
}

type sizeStage uint8

const (
	sizeTop sizeStage = iota
	sizeLadder
	sizeKnown
)

func newSizer(now time.Time, top int) *sizer {
	return &sizer{top: top, rungs: append([]int{top}, sizes...), at: now, asked: make(map[uint64]int), backup: sizeRetry}
}

// next returns the sizes of PINGs to send now, each of which sent wants to hear
// of. 0 is an ordinary one. The way starves if data goes out and none comes back,
// as it is when everything large is swallowed. rtt is the round trip, 0 if not
// known.
func (s *sizer) next(now time.Time, starves bool, rtt time.Duration) []int {
	if s.stage == sizeKnown {
		return s.nextKnown(now, starves, rtt)
	}
	if now.Before(s.at) {
		return nil
	}
	wait := max(sizeWait, 4*rtt)
	switch {
	case s.stage == sizeTop && s.goes < sizeGoes:
		s.goes++
		s.at = now.Add(sizeGap)
		switch s.goes {
		case 1: // mostly, that is all there is to it
			return []int{s.top}
		case sizeGoes:
			s.at = now.Add(wait)
		}
		return []int{s.top, 0}
	case s.stage == sizeLadder && s.goes < 2:
		s.goes++
		s.at = now.Add(wait / 2)
		if s.goes == 2 {
			s.at = now.Add(wait)
		}
		return s.rungs
	case s.best == 0: // the way is dead; that is somebody else's business
		s.begin(now.Add(s.backup), sizeTop)
		s.backup = min(2*s.backup, sizeAgain)
	case s.stage == sizeTop:
		s.begin(now, sizeLadder)
		return s.next(now, starves, rtt)
	default:
		s.learn(now, max(s.best, sizeFloor))
	}
	return nil
}

func (s *sizer) nextKnown(now time.Time, starves bool, rtt time.Duration) []int {
	switch {
	case !now.Before(s.at):
		s.begin(now, sizeTop)
		return s.next(now, starves, rtt)
	case !starves:
		s.checkAt = earlier(s.checkAt, s.checked.Add(sizeRelief)) // the next silence is another
		return nil
	case now.Before(s.checkAt):
		return nil
	case s.check != 0:
		s.missed++
	}
	if s.missed == sizeMissed {
		s.begin(now, sizeLadder)
		return s.next(now, starves, rtt)
	}
	s.checkAt = now.Add(max(sizeHurry, 4*rtt))
	return []int{s.known}
}

// sent notes the transaction of a PING that next asked for.
func (s *sizer) sent(size int, txid uint64) {
	s.asked[txid] = size
	if s.stage == sizeKnown {
		s.check = txid
	}
}

// answered takes a PONG.
func (s *sizer) answered(now time.Time, txid uint64) {
	size, ok := s.asked[txid]
	if !ok {
		return
	}
	delete(s.asked, txid)
	if txid == s.check {
		s.check, s.missed, s.checked, s.checkAt = 0, 0, now, now.Add(sizeBeat)
	}
	if s.stage == sizeKnown {
		s.known = max(s.known, size)
		return
	}
	s.best = max(s.best, size, 1)
	if size == s.top {
		s.learn(now, size)
	}
}

// learn ends a measurement.
func (s *sizer) learn(now time.Time, size int) {
	s.known, s.backup = size, sizeRetry
	again := sizeAgain
	if size < s.top {
		again = sizeLower
	}
	late := maps.Clone(s.asked)
	s.begin(now.Add(again), sizeKnown)
	s.asked, s.checkAt = late, now
}

// nudge takes the news that the peer looks for what fits.
func (s *sizer) nudge(now time.Time) {
	if s.stage == sizeKnown && s.known == s.top {
		s.begin(now, sizeTop)
	}
}

// look takes a PING by which the peer looks for what fits on this very way. It tries
// all sizes, the largest first: one less than is known here says that the way has
// become narrower. Who has the kernel's WireGuard cut its packets to what its own
// link takes notices nothing by itself.
func (s *sizer) look(now time.Time, size int) {
	first := now.Sub(s.looked) >= sizeLooks
	s.looked = now
	if first && s.stage == sizeKnown && size < s.known {
		s.begin(now, sizeTop)
		return
	}
	s.nudge(now)
}

// refuse takes the system's word that a datagram was too long for the own link:
// there is no need to try the largest.
func (s *sizer) refuse(now time.Time) {
	if s.stage == sizeKnown {
		s.begin(now, sizeLadder)
	}
}

func (s *sizer) begin(at time.Time, stage sizeStage) {
	s.stage, s.goes, s.best, s.at = stage, 0, 0, at
	s.check, s.missed = 0, 0
	clear(s.asked)
}

// deadline is when next has something to say.
func (s *sizer) deadline(starves bool) time.Time {
	if s.stage == sizeKnown && starves {
		return earlier(s.at, s.checkAt)
	}
	return s.at
}
