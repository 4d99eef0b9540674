package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"meshd/agent/localapi"
	"meshd/dnssd"
)

// Services of this host are in its state, and published with its endpoints by the
// control connection.

// serviceChange is a wish of the local API about this host's services.
type serviceChange struct {
	change func(member, zone string, have []dnssd.Service) ([]dnssd.Service, error)
	types  func(have []string) ([]string, error) // about those of the LAN; instead of change
	done   chan error                            // capacity 1
}

// changeServices carries out a wish; what it leads to is saved before it counts.
func (l *loop) changeServices(c serviceChange) {
	if l.netmap == nil {
		c.done <- localapi.WithHint(errors.New("this machine has no name in a mesh yet"), "meshd status")
		return
	}
	if c.types != nil {
		l.changeTypes(c)
		return
	}
	next, err := c.change(l.netmap.Self.Name, l.netmap.Mesh.Zone, slices.Clone(l.state.Services))
	if err == nil && len(next) > dnssd.MaxServices {
		err = localapi.WithHint(fmt.Errorf("%d services are more than %d, which is what a member may announce", len(next), dnssd.MaxServices),
			"meshd announce list")
	}
	if err == nil {
		state := l.state
		state.Services = next
		err = l.keep(state)
	}
	if err != nil {
		c.done <- err
		return
	}
	l.announce()
	l.show() // who hears of it must find it so
	c.done <- nil
}

// changeTypes carries out a wish about services of the LAN.
func (l *loop) changeTypes(c serviceChange) {
	next, err := c.types(slices.Clone(l.state.Republish))
	if err == nil && len(next) > len(l.state.Republish) && l.state.MDNS == wordOff {
		err = localapi.WithHint(errors.New("multicast DNS is off on this machine, so nothing of its LAN is heard"), "meshd set mdns=auto")
	}
	if err == nil {
		state := l.state
		state.Republish = next
		err = l.keep(state)
	}
	if err != nil {
		c.done <- err
		return
	}
	if l.plane != nil {
		l.plane.republish.choose(l.typesOfLAN())
	}
	l.announce()
	l.show()
	c.done <- nil
}

// announce has the control connection publish the services, and this host's own
// zone show them. What the hub is about to hear is remembered first, so that it
// can be withdrawn whatever happens.
func (l *loop) announce() {
	all := l.offer()
	l.offered = all
	if known := union(l.state.Published, all); !slices.EqualFunc(known, l.state.Published, dnssd.Service.Equal) {
		l.state.Published = known
	}
	l.saveState()
	l.services.set(announced{services: all, old: l.state.Published})
	l.local.poke()
	if l.plane != nil {
		l.plane.names.take(l.netmap, l.plane.punch.Status().Local, all)
	}
}

// settle notes which services the hub has now.
func (l *loop) settle(e settled) {
	published := e.taken
	l.unpublished = slices.DeleteFunc(slices.Clone(e.of.services), func(s dnssd.Service) bool {
		return slices.ContainsFunc(e.taken, func(o dnssd.Service) bool { return sameName(o, s) })
	})
	if e.of != l.services.get() { // others have been announced meanwhile
		published = union(published, l.offered)
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

// change has the loop carry out a wish about services.
func (a *Agent) change(ctx context.Context, f func(member, zone string, have []dnssd.Service) ([]dnssd.Service, error)) error {
	return a.carry(ctx, serviceChange{change: f})
}

func (a *Agent) carry(ctx context.Context, c serviceChange) error {
	c.done = make(chan error, 1)
	select {
	case a.changes <- c:
		return <-c.done
	case <-a.ended:
		return errEnding
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Announce implements [localapi.Services].
func (a *Agent) Announce(ctx context.Context, req localapi.AnnounceRequest) (localapi.Service, error) {
	typ, err := dnssd.ServiceType(req.Type, protocol(req.UDP))
	if err != nil {
		return localapi.Service{}, err
	}
	if req.FromLAN {
		return localapi.Service{Type: typ, LAN: true}, a.republish(ctx, typ, true)
	}
	s := dnssd.Service{Instance: req.Name, Type: typ, Port: req.Port, Text: req.Text}
	err = a.change(ctx, func(member, zone string, have []dnssd.Service) ([]dnssd.Service, error) {
		s.Instance = cmp.Or(s.Instance, member)
		if err := s.Check(zone, member); err != nil {
			return nil, err
		}
		if other, taken := a.announcer(s); taken {
			return nil, localapi.WithHint(fmt.Errorf("%s announces a service of type %s with the name %q already", other, s.Type, s.Instance),
				"choose another with --name")
		}
		have = slices.DeleteFunc(have, func(o dnssd.Service) bool { return sameName(o, s) })
		return append(have, s), nil
	})
	if err != nil {
		return localapi.Service{}, err
	}
	return a.ownService(s), nil
}

func protocol(udp bool) string {
	if udp {
		return "udp"
	}
	return "tcp"
}

// announcer is another member that has a service of this name.
func (a *Agent) announcer(s dnssd.Service) (string, bool) {
	return announcerIn(a.view.Load().netmap, s)
}

func announcerIn(m *Netmap, s dnssd.Service) (string, bool) {
	for _, p := range m.Peers {
		if slices.ContainsFunc(p.Services, func(o dnssd.Service) bool { return sameName(o, s) }) {
			return p.Name, true
		}
	}
	return "", false
}

// Unannounce implements [localapi.Services].
func (a *Agent) Unannounce(ctx context.Context, req localapi.UnannounceRequest) ([]localapi.Service, error) {
	typ := ""
	if req.Type != "" {
		var err error
		if typ, err = dnssd.ServiceType(req.Type, protocol(req.UDP)); err != nil {
			return nil, err
		}
	}
	if req.FromLAN {
		was := a.view.Load().services
		if err := a.republish(ctx, typ, false); err != nil {
			return nil, err
		}
		return a.ownServices(slices.DeleteFunc(slices.Clone(was), func(s dnssd.Service) bool { return s.Host == "" || s.Type != typ })), nil
	}
	var gone []dnssd.Service
	err := a.change(ctx, func(_, _ string, have []dnssd.Service) ([]dnssd.Service, error) {
		stay := slices.DeleteFunc(have, func(s dnssd.Service) bool {
			match := (typ == "" || s.Type == typ) && (req.Name == "" || strings.EqualFold(s.Instance, req.Name))
			if match {
				gone = append(gone, s)
			}
			return match
		})
		if len(gone) == 0 {
			return nil, localapi.WithHint(errors.New("this machine announces no such service"), "meshd announce list")
		}
		return stay, nil
	})
	if err != nil {
		return nil, err
	}
	return a.ownServices(gone), nil
}

// Announced implements [localapi.Services].
func (a *Agent) Announced(context.Context) ([]localapi.Service, error) {
	return a.ownServices(a.view.Load().services), nil
}

// Browse implements [localapi.Services].
func (a *Agent) Browse(_ context.Context, typ string) ([]localapi.Service, error) {
	if typ != "" {
		var err error
		if typ, err = dnssd.ServiceType(typ, protocol(false)); err != nil {
			return nil, err
		}
	}
	v := a.view.Load()
	if v.netmap == nil {
		return nil, localapi.WithHint(errors.New("this machine is in no mesh yet"), "meshd status")
	}
	list := a.ownServices(v.services)
	for _, p := range v.netmap.Sorted() {
		for _, s := range p.Services {
			if p.Online {
				list = append(list, serviceView(s, p.Name, v.netmap.Mesh.Zone, p))
			}
		}
	}
	list = slices.DeleteFunc(list, func(s localapi.Service) bool { return typ != "" && !strings.EqualFold(s.Type, typ) })
	slices.SortStableFunc(list, func(a, b localapi.Service) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Member, b.Member), cmp.Compare(a.Instance, b.Instance))
	})
	return list, nil
}

func (a *Agent) ownServices(list []dnssd.Service) []localapi.Service {
	views := make([]localapi.Service, 0, len(list))
	for _, s := range list {
		views = append(views, a.ownService(s))
	}
	return views
}

func (a *Agent) ownService(s dnssd.Service) localapi.Service {
	v := a.view.Load()
	if v.netmap == nil {
		return serviceView(s, v.name, "", Peer{})
	}
	self := v.netmap.Self
	return serviceView(s, self.Name, v.netmap.Mesh.Zone, Peer{Addresses: self.Addresses, Online: true})
}

func serviceView(s dnssd.Service, member, zone string, p Peer) localapi.Service {
	view := localapi.Service{
		Instance: s.Instance, Type: s.Type, Member: member, Host: member + "." + zone, Addresses: p.Addresses,
		Port: s.Port, Text: append([]string{}, s.Text...), Online: p.Online,
	}
	if s.Host != "" {
		view.LAN = true
		view.Host, view.Addresses = s.Host+"."+view.Host, s.Addresses
	}
	return view
}
