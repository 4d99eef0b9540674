package nattest

import (
	"net/netip"
	"slices"
	"time"
)

// Segment is a place where devices reach each other without a gateway: the core,
// a LAN, the access network of a carrier.
type Segment struct {
	net   *Net
	hops  int // routers between any two ports
	ports []*port
	up    *port // the gateway's; nil in the core
}

// port is where a device is attached to a segment.
type port struct {
	*Segment
	device
	link     Link
	out, in  lane
	detached bool
}

// device is what a port leads to.
type device interface {
	owns(netip.Addr) bool // packets to this address are for the device
	onLink(netip.Addr) bool
	receive(*packet)
	String() string
}

func (s *Segment) attach(d device, l Link) *port {
	p := &port{Segment: s, device: d, link: l}
	s.ports = append(s.ports, p)
	return p
}

func (p *port) detach() {
	p.detached = true
	p.ports = slices.DeleteFunc(p.ports, func(q *port) bool { return q == p })
}

// send puts a packet on the segment.
func (p *port) send(pkt *packet) {
	if p.detached {
		p.net.drop(pkt, p, "no route")
		return
	}
	p.cross(&p.out, pkt, p.switched)
}

// switched takes a packet that came over p's link to the port it is for.
func (p *port) switched(pkt *packet) {
	n := p.net
	ends := pair{pkt.Src.Addr(), pkt.Dst.Addr()}
	to := p.find(pkt.Dst.Addr())
	if to == nil && !p.onLink(pkt.Dst.Addr()) {
		to = p.up
	}
	switch {
	case to == nil || to == p:
		n.drop(pkt, p.Segment, "no route")
		return
	case n.cuts[ends]:
		n.drop(pkt, p.Segment, "cut")
		return
	case pkt.TTL <= p.hops:
		n.drop(pkt, p.Segment, "ttl")
		return
	}
	pkt.TTL -= p.hops
	if p.Segment == n.Segment {
		n.counts.crossed[ends] = n.counts.crossed[ends].add(pkt)
	}
	to.cross(&to.in, pkt, to.arrived)
}

func (p *port) arrived(pkt *packet) {
	if p.detached {
		p.net.drop(pkt, p, "no route")
		return
	}
	p.receive(pkt)
}

// cross sends a packet over p's link.
func (p *port) cross(ln *lane, pkt *packet, then func(*packet)) {
	d, lost := p.link.transit(time.Now(), ln, pkt)
	if lost != "" {
		p.net.drop(pkt, p, lost)
		return
	}
	p.net.after(d, pkt, then)
}

func (s *Segment) find(a netip.Addr) *port {
	for _, p := range s.ports {
		if p.owns(a) {
			return p
		}
	}
	return nil
}

func (p *port) String() string { return p.device.String() }

// String names the segment for the trace.
func (s *Segment) String() string {
	if s.up == nil {
		return "core"
	}
	return "behind " + s.up.String()
}
