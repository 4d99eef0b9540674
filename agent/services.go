package agent

import (
	"slices"
	"strings"

	"meshd/dnssd"
)

// announce has the control connection publish the services of the state.
func (l *loop) announce() {
	l.services.set(announced{services: l.state.Services, old: l.state.Published})
	l.local.poke()
}

// settle notes which services the hub has now, so that it is asked later to
// forget those that are announced no more.
func (l *loop) settle(e settled) {
	published := e.taken
	if e.of != l.services.get() { // others have been announced meanwhile
		published = union(published, l.state.Services)
	}
	if slices.EqualFunc(published, l.state.Published, dnssd.Service.Equal) {
		return
	}
	l.state.Published = published
	l.saveState()
}

// union is a and what b has besides, by name.
func union(a, b []dnssd.Service) []dnssd.Service {
	list := slices.Clone(a)
	for _, s := range b {
		if !slices.ContainsFunc(list, func(o dnssd.Service) bool { return sameName(o, s) }) {
			list = append(list, s)
		}
	}
	return list
}

func sameName(a, b dnssd.Service) bool {
	return strings.EqualFold(a.Instance, b.Instance) && strings.EqualFold(a.Type, b.Type)
}
