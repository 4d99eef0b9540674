package nattest

import (
	"net/netip"
	"time"
)

// Dependence is what of the remote endpoint a NAT looks at, in its mapping (RFC
// 4787 §4.1) or in its filtering (§5).
type Dependence uint8

// The three kinds of dependence.
const (
	EndpointIndependent Dependence = iota
	AddressDependent
	AddressAndPortDependent
)

func (d Dependence) String() string {
	return [...]string{"endpoint-independent", "address-dependent", "address-and-port-dependent"}[d]
}

// of returns the part of a remote endpoint that matters.
func (d Dependence) of(remote netip.AddrPort) netip.AddrPort {
	switch d {
	case EndpointIndependent:
		return netip.AddrPort{}
	case AddressDependent:
		return netip.AddrPortFrom(remote.Addr(), 0)
	}
	return remote
}

// DefaultLifetime is how long an idle flow is kept unless [Filter] says otherwise:
// the least that RFC 4787 REQ-5 allows, and what Linux does for flows in use.
const DefaultLifetime = 2 * time.Minute

// Filter is a stateful packet filter: from outside it lets in only what the inside
// asked for.
type Filter struct {
	Filtering    Dependence
	Lifetime     time.Duration // of an idle flow; 0 means [DefaultLifetime]
	Unreplied    time.Duration // of an idle flow that had no answer yet; 0 means Lifetime
	OutboundOnly bool          // packets from outside don't refresh (RFC 4787 §4.3)
	Table        int           // most flows at a time; what would need another is dropped. 0 means unlimited
}

// flow is a way in that was opened from inside.
type flow struct {
	inside netip.AddrPort // as seen from outside
	remote netip.AddrPort // as much of it as Filtering depends on
}

type flowState struct {
	expires time.Time
	replied bool
}

// filter is a Filter at work.
type filter struct {
	Filter
	flows map[flow]*flowState
	swept time.Time
	peak  int
}

func newFilter(f Filter) *filter {
	if f.Lifetime == 0 {
		f.Lifetime = DefaultLifetime
	}
	if f.Unreplied == 0 {
		f.Unreplied = f.Lifetime
	}
	return &filter{Filter: f, flows: map[flow]*flowState{}}
}

// out opens or refreshes a flow and returns until when it lives. It fails when
// the table is full.
func (f *filter) out(now time.Time, inside, remote netip.AddrPort) (time.Time, bool) {
	s := f.live(now, inside, remote)
	if s == nil {
		if f.full(now) {
			return time.Time{}, false
		}
		s = &flowState{}
		f.flows[flow{inside, f.Filtering.of(remote)}] = s
		f.peak = max(f.peak, len(f.flows))
	}
	return f.refresh(now, s), true
}

// in reports whether a packet may enter, and until when its flow lives.
func (f *filter) in(now time.Time, inside, remote netip.AddrPort) (time.Time, bool) {
	s := f.live(now, inside, remote)
	if s == nil {
		return time.Time{}, false
	}
	s.replied = true
	if f.OutboundOnly {
		return s.expires, true
	}
	return f.refresh(now, s), true
}

// live returns the state of a flow, nil when there is none.
func (f *filter) live(now time.Time, inside, remote netip.AddrPort) *flowState {
	s := f.flows[flow{inside, f.Filtering.of(remote)}]
	if s == nil || !now.Before(s.expires) {
		return nil
	}
	return s
}

func (f *filter) refresh(now time.Time, s *flowState) time.Time {
	lifetime := f.Unreplied
	if s.replied {
		lifetime = f.Lifetime
	}
	s.expires = now.Add(lifetime)
	return s.expires
}

// full reports whether there is no room for another flow.
func (f *filter) full(now time.Time) bool {
	if now.Sub(f.swept) >= time.Second || f.Table > 0 && len(f.flows) >= f.Table {
		f.sweep(now)
	}
	return f.Table > 0 && len(f.flows) >= f.Table
}

func (f *filter) sweep(now time.Time) {
	f.swept = now
	for k, s := range f.flows {
		if !now.Before(s.expires) {
			delete(f.flows, k)
		}
	}
}
