package punch

import (
	"net/netip"
	"slices"

	"meshd/punch/wire"
)

// report draws the conclusions from a survey, at any time. own are this host's
// addresses.
func (s *survey) report(own []netip.Addr) Report {
	var r Report
	for _, q := range s.questions {
		if q.purpose == toMap {
			r.Servers = append(r.Servers, ServerReport{q.to, q.mapped, q.rtt})
		}
	}
	m := s.first(toMap)
	if m == nil {
		return r
	}
	r.UDP, r.Mapped, r.RTT = true, m.mapped, s.rtt()
	r.NAT = !slices.Contains(own, m.mapped.Addr())
	r.Mapping, r.MappingSure = s.mapping()
	r.Filtering, r.FilteringSure = s.filtering()
	r.Firewall = slices.ContainsFunc(s.questions, func(q *question) bool { return q.barred })
	s.reportPorts(&r)
	s.reportHairpin(&r)
	s.reportLifetime(&r)
	return r
}

func (s *survey) mapping() (wire.Behaviour, bool) {
	var list []sighting
	for _, q := range s.questions {
		if q.purpose == toMap && q.outcome == answered {
			list = append(list, sighting{q.to, q.mapped})
		}
	}
	return mappingOf(list)
}

// filtering judges the answers that were asked to come from elsewhere.
func (s *survey) filtering() (b wire.Behaviour, sure bool) {
	port, all := s.last(toFilter), s.last(toFilterAll)
	switch {
	case port == nil:
	case all.outcome == answered && all.from.Addr() != all.to.Addr():
		return wire.EndpointIndependent, true
	case port.outcome == answered && port.from != port.to:
		return wire.AddressDependent, all.outcome == silent
	case port.outcome == silent:
		return wire.AddressPortDependent, true
	}
	return wire.UnknownBehaviour, false
}

// last returns the last question of a purpose; nil: none.
func (s *survey) last(p purpose) *question {
	for _, q := range slices.Backward(s.questions) {
		if q.purpose == p {
			return q
		}
	}
	return nil
}

// sampled reports whether all samples are here.
func (s *survey) sampled() bool {
	open := func(q *question) bool { return q.purpose == toSample && q.outcome == waiting }
	return s.asked(toSample) && !slices.ContainsFunc(s.questions, open)
}

// samples lists the ports that fresh sockets were given by the NAT.
func (s *survey) samples(purposes ...purpose) []sample {
	var list []sample
	for _, q := range s.questions {
		if q.outcome == answered && slices.Contains(purposes, q.purpose) {
			list = append(list, sample{s.ports[q.socket], q.mapped.Port()})
		}
	}
	return list
}

// reportPorts tells of port allocation. Where no samples were taken, mapping
// doesn't depend on destinations, and all that matters is whether ports are kept.
func (s *survey) reportPorts(r *Report) {
	list := s.samples(toSample)
	for _, p := range list {
		r.Ports = append(r.Ports, p.mapped)
	}
	if len(list) > 0 {
		r.Allocation, r.Delta, r.Low, r.High = allocationOf(list)
		return
	}
	moved := func(p sample) bool { return p.local != p.mapped }
	if two := s.samples(toMap, toInquire); len(two) > 1 && !slices.ContainsFunc(two, moved) {
		r.Allocation = wire.Preserving
	}
}

func (s *survey) reportHairpin(r *Report) {
	for _, q := range s.questions {
		switch {
		case q.purpose != toHairpin:
		case q.outcome == answered:
			r.Hairpin = Yes
			return
		default:
			r.Hairpin = No
		}
	}
}

func (s *survey) reportLifetime(r *Report) {
	for _, q := range s.questions {
		if q.purpose != toLive || q.outcome == waiting || q.outcome == refused {
			continue
		}
		age := lifetimes[q.hears-lifeSocket]
		if q.outcome == answered {
			r.Lifetime = max(r.Lifetime, age)
		} else if r.LifeEnds == 0 || age < r.LifeEnds {
			r.LifeEnds = age
		}
	}
}
