package portmap

import (
	"errors"
	"time"
)

// grace is how long a protocol that answered waits for a better one to answer.
// It leaves a first mapping well within a quarter of a second on a LAN.
const grace = 50 * time.Millisecond

// Rests between searches of a gateway that gave nothing: the first one, and the
// longest, which is also the longest that a gateway's own wish is honoured.
const (
	firstRest = 30 * time.Second
	maxRest   = 30 * time.Minute
)

// minSearch keeps a talkative gateway from making us search all the time.
const minSearch = 5 * time.Second

// state is what is known of a protocol at a gateway.
type state uint8

const (
	useless state = iota // absent, or it refused
	probing
	present
)

// site is one gateway and our dealings with it. It searches; then asks, one
// protocol at a time, until it has a lease; or rests and searches again.
type site struct {
	id       siteID
	gateway  Gateway
	left     bool // not our gateway any more: nothing is begun, what is granted is returned
	searched time.Time
	states   [UPnP + 1]state
	settle   time.Time // end of the grace; zero: nobody answered yet
	asking   Protocol  // whose answer is awaited; 0: none
	lease    *lease
	epoch    epoch // of the protocol asked last
	retry    time.Time
	wait     time.Duration // as the gateway wished
	failures int
}

// over reports whether the site can be forgotten.
func (s *site) over() bool { return s.left && s.asking == 0 }

// search looks for all protocols; once the last search has ended, if one has not.
func (s *site) search(now time.Time) []action {
	if s.searching() {
		s.retry = now.Add(minSearch)
		return nil
	}
	s.searched, s.settle, s.retry, s.wait = now, time.Time{}, time.Time{}, 0
	for _, p := range s.gateway.protocols() {
		s.states[p] = probing
	}
	return []action{search{s.id, s.gateway}}
}

func (s *site) searching() bool {
	for _, st := range s.states {
		if st == probing {
			return true
		}
	}
	return false
}

// wake acts on a sign that the gateway may have changed its mind or its state.
func (s *site) wake(now time.Time) []action {
	switch {
	case s.busy():
		return nil
	case s.lease != nil:
		return s.look()
	case s.searching():
		return nil
	case now.Sub(s.searched) < minSearch:
		s.retry = s.searched.Add(minSearch)
		return nil
	}
	return s.search(now)
}

// busy reports whether an answer about a mapping is awaited, which all else has
// to wait for, so that a gateway is not told two things at a time.
func (s *site) busy() bool {
	return s.left || s.asking != 0 || s.lease != nil && s.lease.checking
}

// look checks the lease.
func (s *site) look() []action {
	s.lease.checking = true
	return []action{check{s.id, s.lease.protocol, s.lease.grant}}
}

// leave gives back what the gateway granted; while an answer is awaited, after it.
func (s *site) leave() []action {
	s.left = true
	if s.asking != 0 || s.lease == nil {
		return nil
	}
	return []action{remove{s.id, s.lease.protocol, s.lease.grant}}
}

func (s *site) found(now time.Time, ev found) []action {
	s.states[ev.protocol] = present
	if ev.err != nil {
		s.states[ev.protocol] = useless
	}
	return s.choose(now)
}

// choose asks the best protocol there is, or rests if there is none.
func (s *site) choose(now time.Time) []action {
	if s.left || s.asking != 0 || s.lease != nil || !s.retry.IsZero() {
		return nil // a tick of another site, or an answer that comes late
	}
	best, pending := s.best()
	switch {
	case best == 0 && s.searching():
		return nil
	case best == 0:
		s.rest(now)
		return nil
	case pending && s.settle.IsZero():
		s.settle = now.Add(grace)
	}
	if pending && now.Before(s.settle) {
		return nil
	}
	return s.ask(best, grant{})
}

// best is the first protocol present, and whether a better one may still answer.
func (s *site) best() (p Protocol, pending bool) {
	for _, p := range s.gateway.protocols() {
		switch s.states[p] {
		case present:
			return p, pending
		case probing:
			pending = true
		}
	}
	return 0, pending
}

func (s *site) ask(p Protocol, before grant) []action {
	if s.lease == nil {
		s.epoch = epoch{}
	}
	s.asking = p
	return []action{ask{s.id, p, before}}
}

func (s *site) rest(now time.Time) {
	rest := min(firstRest<<min(s.failures, 10), maxRest)
	s.failures++
	s.retry = now.Add(min(max(rest, s.wait), maxRest))
}

func (s *site) granted(now time.Time, ev granted) []action {
	s.asking = 0
	if s.left {
		return []action{remove{s.id, ev.protocol, ev.grant}}
	}
	s.failures = 0
	s.epoch.observe(now, ev.grant.uptime)
	s.lease = newLease(now, ev.protocol, ev.grant)
	return nil
}

func (s *site) refused(now time.Time, ev refused) []action {
	s.asking = 0
	r, told := errors.AsType[*refusal](ev.err)
	switch {
	case s.left && s.lease == nil && told:
		return nil
	case s.left: // silence may hide a grant
		return []action{remove{s.id, ev.protocol, s.held()}}
	case s.lease != nil && !told: // silence says nothing of a lease that runs
		s.lease.renewLater(now)
		return nil
	case s.lease != nil:
		s.lease = nil
		return s.search(now)
	}
	if told {
		s.wait = max(s.wait, r.wait)
	}
	s.states[ev.protocol] = useless
	return s.choose(now)
}

// held is the grant in force, if there is one.
func (s *site) held() grant {
	if s.lease == nil {
		return grant{}
	}
	return s.lease.grant
}

func (s *site) checked(now time.Time, ev checked) []action {
	if s.lease == nil {
		return nil
	}
	s.lease.checkLater(now)
	kept := ev.err != nil || s.epoch.observe(now, ev.finding.uptime) && !ev.finding.lost
	if kept || s.asking != 0 {
		return nil
	}
	s.lease.lost = true
	return s.ask(s.lease.protocol, s.lease.grant)
}

// timers are when tick has something to do; zero times are not set.
func (s *site) timers() []time.Time {
	switch {
	case s.busy():
		return nil
	case s.lease != nil:
		return []time.Time{s.lease.expires, s.lease.renew, s.lease.check}
	case !s.retry.IsZero():
		return []time.Time{s.retry}
	}
	if best, _ := s.best(); best == 0 {
		return nil
	}
	return []time.Time{s.settle}
}

func (s *site) tick(now time.Time) []action {
	due := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	l := s.lease
	switch {
	case s.busy():
		return nil
	case l == nil && due(s.retry):
		return s.search(now)
	case l == nil:
		return s.choose(now)
	case due(l.expires):
		s.lease = nil
		return s.search(now)
	case due(l.renew):
		return s.ask(l.protocol, l.grant)
	case due(l.check):
		return s.look()
	}
	return nil
}
