package filter

import (
	"sync/atomic"
	"time"
)

// Filter stands between the mesh and the host. Its methods may be called from any
// goroutine; while everything may begin, which is so for a new one, they cost next
// to nothing.
type Filter struct {
	now   func() time.Time
	state atomic.Pointer[state]
}

// state is what holds while not everything may begin.
type state struct {
	rules Rules
	flows *flows
}

// New makes a filter that lets everything in. now is the clock; nil: time.Now.
func New(now func() time.Time) *Filter {
	if now == nil {
		now = time.Now
	}
	return &Filter{now: now}
}

// Set changes the rules. What went out under the rules before is still known,
// unless those let everything in.
func (f *Filter) Set(rules Rules) {
	if rules == nil {
		f.state.Store(nil)
		return
	}
	next := &state{rules: rules}
	if before := f.state.Load(); before != nil {
		next.flows = before.flows
	} else {
		next.flows = newFlows()
	}
	f.state.Store(next)
}

// Sent is told of a packet that goes to the mesh. Of several with the same headers
// one is enough.
func (f *Filter) Sent(b []byte) {
	s := f.state.Load()
	if s == nil {
		return
	}
	// What is no beginning has no need to be remembered: its answers are none, either.
	if p, ok := parse(b); ok && p.begins && p.proto != TCP && p.proto != ICMP {
		s.flows.remember(s.flows.hash(p.proto, p.source, p.sourcePort, p.target, p.destPort), f.now())
	}
}

// Admits reports whether a packet from the mesh may come in.
func (f *Filter) Admits(b []byte) bool {
	s := f.state.Load()
	if s == nil {
		return true
	}
	p, ok := parse(b)
	switch {
	case !ok:
		return false
	case !p.begins || s.rules.let(p.proto, p.destPort):
		return true
	case p.proto == TCP || p.proto == ICMP:
		return false
	}
	return s.flows.knows(s.flows.hash(p.proto, p.target, p.destPort, p.source, p.sourcePort), f.now())
}
