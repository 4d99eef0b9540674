package agent

import (
	"context"
	"net/netip"
	"slices"
	"sync/atomic"

	"meshd/agent/netcfg"
	"meshd/punch/portmap"
)

// Mapper is what the agent needs of [portmap.Mapper].
type Mapper interface {
	Run(context.Context) error
	Refresh()
}

// mapping has this host's gateways let datagrams in to the mesh's UDP port, for
// as long as the mesh is up. Nobody waits for it but the end. A nil mapping maps
// nothing.
type mapping struct {
	mapper Mapper
	task   *task
	found  atomic.Pointer[[]portmap.Mapping]
}

// newMapping starts to map p's port, and tells p of every change.
func (l *loop) newMapping(ctx context.Context, p Puncher) *mapping {
	if l.state.PortMapping == wordOff {
		return nil
	}
	m := &mapping{}
	m.mapper = l.cfg.NewMapper(portmap.Config{
		Gateways: func() ([]portmap.Gateway, error) { return mappingGateways(l.cfg.Host) },
		Port:     l.state.Port,
		Changed: func(list []portmap.Mapping) {
			m.found.Store(&list)
			p.SetMapped(trusted(list))
		},
		Log: l.log,
	})
	m.task = start(context.WithoutCancel(ctx), m.mapper.Run)
	return m
}

// mappingGateways lists whom to ask: nobody, if this host has a public IPv4
// address of its own. IPv6 has firewalls where IPv4 has NATs; where there is
// neither for IPv4, none is presumed for IPv6.
func mappingGateways(host netcfg.Host) ([]portmap.Gateway, error) {
	own, err := host.Addresses()
	if err != nil {
		return nil, err
	}
	isPublic := func(p netip.Prefix) bool { return p.Addr().Is4() && portmap.Public(p.Addr()) }
	if slices.ContainsFunc(own, isPublic) {
		return nil, nil
	}
	found, err := host.Gateways()
	var list []portmap.Gateway
	for _, g := range found {
		list = append(list, portmap.Gateway(g))
	}
	return list, err
}

// trusted are the outside addresses that peers may be told. One that is private
// or shared leads to another NAT, or to somebody else's network.
func trusted(list []portmap.Mapping) []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, m := range list {
		if m.Trusted {
			addrs = append(addrs, m.External)
		}
	}
	return addrs
}

// refresh has the gateways looked at again: they may be others, or have
// forgotten what they granted.
func (m *mapping) refresh() {
	if m != nil {
		m.mapper.Refresh()
	}
}

// list is what the gateways have granted, trusted or not.
func (m *mapping) list() []portmap.Mapping {
	if m == nil {
		return nil
	}
	if list := m.found.Load(); list != nil {
		return *list
	}
	return nil
}

// leave begins to give back what was granted.
func (m *mapping) leave() {
	if m != nil {
		m.task.cancel()
	}
}

// wait returns when that is done, or given up: two seconds after leave.
func (m *mapping) wait() {
	if m != nil {
		m.task.wait()
	}
}
