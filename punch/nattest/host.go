package nattest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"
)

// Ports that are given to sockets which ask for none in particular.
const (
	ephemeralLow  = 32768
	ephemeralHigh = 60999
)

// Host is a machine with sockets. It may be attached to several segments; the
// one attached last has its default route.
type Host struct {
	net      *Net
	number   uint64
	nics     []*nic // the default route's last
	sockets  map[netip.AddrPort]*Socket
	doors    map[netip.AddrPort]*Socket
	firewall *filter // nil lets everything in
	opened   int     // sockets so far

	spoils bool // see SpoilBundles
}

// SpoilBundles has a fault of some kernels and network cards: of several datagrams
// that are written at once all but the first arrive with another content.
func (h *Host) SpoilBundles(on bool) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.spoils = on
}

// nic is a network interface.
type nic struct {
	*Host
	port  *port
	addrs []netip.Prefix
}

// Host attaches a new host to the segment. Each address carries the length of its
// on-link prefix: 32 or 128 bits for a host of the core.
func (s *Segment) Host(l Link, addrs ...netip.Prefix) *Host {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	h := &Host{
		net: s.net, number: uint64(len(s.net.hosts)) + 1,
		sockets: map[netip.AddrPort]*Socket{}, doors: map[netip.AddrPort]*Socket{},
	}
	s.net.hosts = append(s.net.hosts, h)
	h.attach(s, l, addrs)
	return h
}

// Attach adds an interface on a segment. It takes the default route.
func (h *Host) Attach(s *Segment, l Link, addrs ...netip.Prefix) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.attach(s, l, addrs)
}

func (h *Host) attach(s *Segment, l Link, addrs []netip.Prefix) {
	c := &nic{Host: h, addrs: addrs}
	c.port = s.attach(c, l)
	h.nics = append(h.nics, c)
}

// Detach removes the interfaces on a segment.
func (h *Host) Detach(s *Segment) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.nics = slices.DeleteFunc(h.nics, func(c *nic) bool {
		if c.port.Segment == s {
			c.port.detach()
		}
		return c.port.detached
	})
}

// Move leaves all segments for another.
func (h *Host) Move(s *Segment, l Link, addrs ...netip.Prefix) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	for _, c := range h.nics {
		c.port.detach()
	}
	h.nics = nil
	h.attach(s, l, addrs)
}

// SetAddrs changes the addresses of the interface that has the default route; none
// takes them away. The host must have an interface.
func (h *Host) SetAddrs(addrs ...netip.Prefix) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.nics[len(h.nics)-1].addrs = addrs
}

// SetLink changes the links of all interfaces.
func (h *Host) SetLink(l Link) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	for _, c := range h.nics {
		c.port.link = l
	}
}

// SetFirewall puts a stateful filter on the host itself; nil removes it.
func (h *Host) SetFirewall(f *Filter) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.firewall = nil
	if f != nil {
		h.firewall = newFilter(*f)
	}
}

// Interfaces returns the addresses of all interfaces. It never fails; the error
// is there because the real function of this shape has one.
func (h *Host) Interfaces() ([]netip.Prefix, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	var addrs []netip.Prefix
	for _, c := range h.nics {
		addrs = append(addrs, c.addrs...)
	}
	return addrs, nil
}

// Addr returns the first address of the host, of the interface with the default
// route; the zero Addr when there is none.
func (h *Host) Addr() netip.Addr {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return h.addr()
}

func (h *Host) addr() netip.Addr {
	for _, c := range slices.Backward(h.nics) {
		if len(c.addrs) > 0 {
			return c.addrs[0].Addr()
		}
	}
	return netip.Addr{}
}

// String names the host for the trace: host1 was made first.
func (h *Host) String() string { return fmt.Sprint("host", h.number) }

// Listen opens a UDP socket. An unspecified address takes what comes to any address
// of its family; port 0 means any free one.
func (h *Host) Listen(a netip.AddrPort) (*Socket, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.net.closed {
		return nil, net.ErrClosed
	}
	if !a.Addr().IsUnspecified() && !h.has(a.Addr()) {
		return nil, fmt.Errorf("listen on %v: %w", a, os.NewSyscallError("bind", syscall.EADDRNOTAVAIL))
	}
	if a.Port() == 0 {
		a = h.freePort(a.Addr())
	}
	if h.sockets[a] != nil {
		return nil, fmt.Errorf("listen on %v: %w", a, os.NewSyscallError("bind", syscall.EADDRINUSE))
	}
	s := newSocket(h, a)
	h.sockets[a] = s
	return s, nil
}

// freePort scatters the ports of sockets, as hosts do (RFC 6056).
func (h *Host) freePort(a netip.Addr) netip.AddrPort {
	luck := newLuck(h.net.config.Seed, h.number<<48|uint64(h.opened))
	for {
		port := uint16(ephemeralLow + luck.IntN(ephemeralHigh-ephemeralLow+1))
		if h.sockets[netip.AddrPortFrom(a, port)] == nil {
			return netip.AddrPortFrom(a, port)
		}
	}
}

func (h *Host) has(a netip.Addr) bool {
	return slices.ContainsFunc(h.nics, func(c *nic) bool { return c.owns(a) })
}

// route chooses interface and source address for a packet from a socket that is
// bound to an address, maybe an unspecified one.
func (h *Host) route(bound, dst netip.Addr) (*nic, netip.Addr, bool) {
	var (
		via *nic
		src netip.Addr
	)
	for _, c := range h.nics {
		for _, p := range slices.Backward(c.addrs) {
			a := p.Addr()
			if a.Is4() != dst.Is4() || !bound.IsUnspecified() && bound != a {
				continue
			}
			if p.Contains(dst) {
				return c, a, true
			}
			via, src = c, a
		}
	}
	return via, src, via != nil
}

// send puts a packet on the wire of the interface chosen for it.
func (h *Host) send(c *nic, p *packet) {
	h.net.counts.sent[h] = h.net.counts.sent[h].add(p)
	h.net.trace(p, h, "sent")
	if h.has(p.Dst.Addr()) { // the firewall leaves alone what stays on the host
		h.deliver(p)
		return
	}
	if h.firewall != nil {
		if _, ok := h.firewall.out(time.Now(), p.Src, p.Dst); !ok {
			h.net.drop(p, h, "table full")
			return
		}
	}
	c.port.send(p)
}

// deliver hands a packet to the socket it is for.
func (h *Host) deliver(p *packet) {
	s := h.sockets[p.Dst]
	if s == nil {
		s = h.sockets[netip.AddrPortFrom(unspecified(p.Dst.Addr()), p.Dst.Port())]
	}
	switch {
	case s == nil:
		h.net.drop(p, h, "no socket")
		return
	case !s.put(p):
		h.net.drop(p, h, "buffer full")
		return
	}
	k := hosts{p.from, h}
	h.net.counts.delivered[k] = h.net.counts.delivered[k].add(p)
	h.net.trace(p, h, "delivered")
	if h.net.config.Delivered != nil {
		h.net.config.Delivered(p.from, h, p.Packet)
	}
}

func (c *nic) owns(a netip.Addr) bool {
	return slices.ContainsFunc(c.addrs, func(p netip.Prefix) bool { return p.Addr() == a })
}

func (c *nic) onLink(a netip.Addr) bool {
	return slices.ContainsFunc(c.addrs, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (c *nic) receive(p *packet) {
	if d := c.doors[netip.AddrPortFrom(unspecified(p.Dst.Addr()), p.Dst.Port())]; d != nil {
		d.put(p)
	}
	if c.firewall != nil {
		if _, ok := c.firewall.in(time.Now(), p.Dst, p.Src); !ok {
			c.net.drop(p, c, "filtered")
			return
		}
	}
	c.deliver(p)
}

func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
