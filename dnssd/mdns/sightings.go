package mdns

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// sightings are the services of a type on a LAN, by instance, each with the time
// until which it counts as there.
type sightings map[string]sighted

// see notes a service, and reports whether that is news.
func (s sightings) see(now time.Time, service Service) bool {
	old, known := s[service.Instance]
	s[service.Instance] = sighted{service, now.Add(unheard)}
	return !known || !old.equal(service)
}

// hear notes what is said of one that is known. Who says goodbye stays for a second
// more, in which another may say that it is still there (RFC 6762 §10.1).
func (s sightings) hear(now time.Time, m mention) {
	if known, ok := s[m.instance]; ok {
		known.until = now.Add(unheard)
		if m.leaves {
			known.until = now.Add(farewell)
		}
		s[m.instance] = known
	}
}

// expire forgets those whose time is over, and reports whether there were any.
func (s sightings) expire(now time.Time) bool {
	before := len(s)
	maps.DeleteFunc(s, func(_ string, v sighted) bool { return !now.Before(v.until) })
	return len(s) != before
}

// next is when the first of them expires.
func (s sightings) next(now time.Time) time.Time {
	first := now.Add(unheard)
	for _, v := range s {
		if v.until.Before(first) {
			first = v.until
		}
	}
	return first
}

func (s sightings) list() []Service {
	list := make([]Service, 0, len(s))
	for _, v := range s {
		list = append(list, v.Service)
	}
	slices.SortFunc(list, func(a, b Service) int { return cmp.Compare(a.Instance, b.Instance) })
	return list
}
