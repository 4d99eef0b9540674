package portmap

import (
	"slices"
	"time"
)

// siteID names a site for as long as the book lives.
type siteID int

// event is something that happened to a book.
type event any

// Events. Those about a site may come after the site was left.
type (
	gateways struct{ list []Gateway } // at first, and at each change of the host's network
	found    struct {                 // a search has ended
		site     siteID
		protocol Protocol
		err      error // nil: it is there
	}
	granted struct {
		site     siteID
		protocol Protocol
		grant    grant
	}
	refused struct { // by a *refusal, or by silence
		site     siteID
		protocol Protocol
		err      error
	}
	checked struct {
		site    siteID
		finding finding
		err     error // nothing was found out
	}
	announced struct{ site siteID } // the gateway says that it may have restarted
	tick      struct{}
	stop      struct{}
)

// action is something to do for a book.
type action any

// Actions. Each search ends in one found for each protocol; each ask in granted
// or refused; each check in checked.
type (
	search struct {
		site    siteID
		gateway Gateway
	}
	ask struct {
		site     siteID
		protocol Protocol
		before   grant // to be renewed; zero: a new one
	}
	check struct {
		site     siteID
		protocol Protocol
		grant    grant
	}
	remove struct {
		site     siteID
		protocol Protocol
		grant    grant
	}
	report struct{ mappings []Mapping }
)

// book keeps account of gateways and what they granted. It is pure: time comes
// in with each step, and what is to be done goes out. Not for concurrent use.
type book struct {
	sites    []*site
	last     siteID
	told     []Mapping
	stopping bool
}

// step takes in an event and returns what to do about it.
func (b *book) step(now time.Time, ev event) []action {
	var do []action
	switch ev := ev.(type) {
	case gateways:
		do = b.move(now, ev.list)
	case stop:
		b.stopping = true
		do = b.move(now, nil)
	case tick:
		for _, s := range b.sites {
			do = append(do, s.tick(now)...)
		}
	case found:
		do = b.at(ev.site, func(s *site) []action { return s.found(now, ev) })
	case granted:
		do = b.at(ev.site, func(s *site) []action { return s.granted(now, ev) })
	case refused:
		do = b.at(ev.site, func(s *site) []action { return s.refused(now, ev) })
	case checked:
		do = b.at(ev.site, func(s *site) []action { return s.checked(now, ev) })
	case announced:
		do = b.at(ev.site, func(s *site) []action { return s.wake(now) })
	}
	b.sites = slices.DeleteFunc(b.sites, (*site).over)
	return append(do, b.news()...)
}

func (b *book) at(id siteID, f func(*site) []action) []action {
	for _, s := range b.sites {
		if s.id == id {
			return f(s)
		}
	}
	return nil
}

// move goes from the gateways of before to those of now. Mappings on a gateway
// that was left are given back, if it can still be reached.
func (b *book) move(now time.Time, list []Gateway) []action {
	var do []action
	for _, s := range b.sites {
		switch {
		case slices.Contains(list, s.gateway):
			s.left, s.failures = false, 0
			do = append(do, s.wake(now)...)
		case !s.left:
			do = append(do, s.leave()...)
		}
	}
	for _, g := range list {
		known := slices.ContainsFunc(b.sites, func(s *site) bool { return s.gateway == g })
		if known || !g.valid() {
			continue
		}
		b.last++
		s := &site{id: b.last, gateway: g}
		b.sites = append(b.sites, s)
		do = append(do, s.search(now)...)
	}
	return do
}

// news reports the mappings when they are others than those told last.
func (b *book) news() []action {
	var list []Mapping
	for _, s := range b.sites {
		if s.lease != nil && !s.left {
			list = append(list, s.lease.mapping())
		}
	}
	if b.stopping || slices.Equal(list, b.told) {
		return nil
	}
	b.told = list
	return []action{report{slices.Clone(list)}}
}

// next is when the book wants a tick; zero means not by itself.
func (b *book) next() time.Time {
	var next time.Time
	for _, s := range b.sites {
		for _, t := range s.timers() {
			if !t.IsZero() && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
	}
	return next
}

// has reports whether a site still matters.
func (b *book) has(id siteID) bool {
	return slices.ContainsFunc(b.sites, func(s *site) bool { return s.id == id })
}
