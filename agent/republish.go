package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"meshd/agent/localapi"
	"meshd/agent/netcfg"
	"meshd/dnssd"
	"meshd/dnssd/mdns"
)

// republisher listens for services of this host's LANs, of the types that the
// owner chose to show to the mesh. The loop owns it, but for heard.
type republisher struct {
	log    *slog.Logger
	host   netcfg.Host
	watch  func(mdns.Watch) func(context.Context) error
	tasks  map[string]*task // by type
	wake   chan struct{}    // capacity 1: heard has changed
	said   map[string]bool  // what was logged; each is once
	mu     sync.Mutex       // guards heard
	heard  map[string][]mdns.Service
	parent context.Context // of tasks
}

func (l *loop) newRepublisher(ctx context.Context) *republisher {
	r := &republisher{
		log: l.log, host: l.cfg.Host, watch: l.cfg.WatchLAN, tasks: map[string]*task{}, wake: make(chan struct{}, 1),
		said: map[string]bool{}, heard: map[string][]mdns.Service{}, parent: context.WithoutCancel(ctx),
	}
	r.choose(l.typesOfLAN())
	return r
}

// typesOfLAN are the types that are listened for.
func (l *loop) typesOfLAN() []string {
	if l.state.MDNS == wordOff {
		return nil
	}
	return l.state.Republish
}

// choose makes types those that are listened for.
func (r *republisher) choose(types []string) {
	for typ, t := range r.tasks {
		if !slices.Contains(types, typ) {
			t.stop()
			delete(r.tasks, typ)
			r.set(typ, nil)
		}
	}
	for _, typ := range types {
		if r.tasks[typ] == nil {
			r.tasks[typ] = start(r.parent, r.watch(mdns.Watch{
				Type: typ, Interfaces: r.interfaces, Changed: func(list []mdns.Service) { r.set(typ, list) }, Log: r.log,
			}))
		}
	}
}

func (r *republisher) set(typ string, list []mdns.Service) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard[typ] = list
	signal(r.wake)
}

func (r *republisher) interfaces() []mdns.Interface {
	found, err := r.host.LAN()
	if err != nil {
		r.log.Debug("interfaces not read", "err", err)
	}
	return lanInterfaces(found)
}

func lanInterfaces(found []netcfg.Interface) (on []mdns.Interface) {
	for _, i := range found {
		on = append(on, mdns.Interface{Name: i.Name, Addresses: i.Addresses})
	}
	return on
}

func (r *republisher) stop() {
	if r == nil { // the mesh did not come up
		return
	}
	for _, t := range r.tasks {
		t.stop()
	}
}

// servicesHeard ticks when other services were heard of.
func (p *plane) servicesHeard() <-chan struct{} {
	if p == nil {
		return nil
	}
	return p.republish.wake
}

// foreign are the services of the LAN as m's zone can show them, at most room.
// What others have by the same name, and what breaks a limit, is left out.
func (r *republisher) foreign(m *Netmap, types []string, room int) (list []dnssd.Service) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, typ := range types {
		for _, heard := range r.heard[typ] {
			s := foreignService(heard, typ, m.Mesh.Prefixes)
			if other, taken := announcerIn(m, s); taken {
				r.once(s, fmt.Errorf("%s announces it", other))
				continue
			}
			if err := s.Check(m.Mesh.Zone, m.Self.Name); err != nil {
				r.once(s, err)
				continue
			}
			if len(list) >= room {
				r.once(s, fmt.Errorf("a member may announce %d services", dnssd.MaxServices))
				continue
			}
			list = append(list, s)
		}
	}
	return list
}

// once says why a service is not shown.
func (r *republisher) once(s dnssd.Service, err error) {
	what := s.Type + " " + s.Instance + ": " + err.Error()
	if !r.said[what] && len(r.said) < 1000 {
		r.said[what] = true
		r.log.Info("service of the LAN not republished", "err", fmt.Errorf("%s %q: %w", s.Type, s.Instance, err))
	}
}

// foreignService puts a service of the LAN under this member, at a host of its
// own: printer.nas.meshd.internal. An address of the mesh is nobody's on the LAN.
// Strings that are no "key=value" or come twice are left out (RFC 6763 §6.4).
func foreignService(h mdns.Service, typ string, mesh []netip.Prefix) dnssd.Service {
	s := dnssd.Service{Instance: dnssd.Unescape(h.Instance), Type: typ, Port: h.Port, Host: hostLabel(h.Host)}
	keys := map[string]bool{}
	for _, text := range h.Text {
		text = dnssd.Unescape(text)
		key, _, _ := strings.Cut(text, "=")
		if key = strings.ToLower(key); key != "" && !keys[key] {
			keys[key] = true
			s.Text = append(s.Text, text)
		}
	}
	var four, six bool // one of each is enough, and bounds the update
	for _, a := range h.Addresses {
		seen := &six
		if a.Is4() {
			seen = &four
		}
		if !*seen && !slices.ContainsFunc(mesh, func(p netip.Prefix) bool { return p.Contains(a) }) {
			*seen = true
			s.Addresses = append(s.Addresses, a)
		}
	}
	return s
}

// hostLabel makes a label of a host's name on the LAN.
func hostLabel(host string) string {
	label, _, _ := strings.Cut(strings.ToLower(host), ".")
	label = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, label)
	if label = strings.Trim(label[:min(len(label), 63)], "-"); label == "" {
		return "host"
	}
	return label
}

// republished takes in what was heard on the LAN.
func (l *loop) republished() {
	if offer := l.offer(); !slices.EqualFunc(offer, l.offered, dnssd.Service.Equal) {
		l.announce()
	}
}

// offer is all that this host announces: its own, and what it republishes.
func (l *loop) offer() []dnssd.Service {
	own := l.state.Services
	if l.plane == nil || l.netmap == nil {
		return own
	}
	foreign := l.plane.republish.foreign(l.netmap, l.typesOfLAN(), dnssd.MaxServices-len(own))
	return union(own, foreign)
}

// republish begins or ends to show services of a type of the LAN.
func (a *Agent) republish(ctx context.Context, typ string, on bool) error {
	if typ == "_meshd._udp" {
		return fmt.Errorf("service type %q is how members find each other: it is of no use in the zone", typ)
	}
	return a.carry(ctx, serviceChange{types: func(have []string) ([]string, error) {
		i := slices.Index(have, typ)
		switch {
		case on && i < 0 && len(have) >= mdns.MaxInstances:
			return nil, fmt.Errorf("%d types of the LAN are republished, and more than %d are not", len(have), mdns.MaxInstances)
		case on && i < 0:
			have = append(have, typ)
		case !on && i < 0:
			return nil, localapi.WithHint(fmt.Errorf("services of type %s of the LAN are not republished", typ), "meshd announce list")
		case !on:
			have = slices.Delete(have, i, i+1)
		}
		return have, nil
	}})
}
