package nattest

import (
	"net/netip"
	"slices"
	"time"
)

// Gateway is what stands between a site and the segment above it.
type Gateway struct {
	Public []netip.Addr // addresses it translates to; none: nothing is translated
	NAT    NAT

	Routed   []netip.Prefix // prefixes of the inside that pass untranslated, as IPv6 does
	Firewall *Filter        // for Routed; nil lets everything in
}

// Site is a gateway and the segment behind it.
type Site struct {
	*Segment // the inside
	name     string
	gateway  Gateway
	nat      *nat
	firewall *filter // nil lets everything in
	inner    *port
	outer    *port
	block    func(Packet) bool
}

// Site puts a gateway on the segment, by a link.
func (s *Segment) Site(g Gateway, l Link) *Site {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	site := &Site{Segment: &Segment{net: s.net}, name: "gateway", gateway: g}
	if len(g.Public) > 0 {
		site.name += " " + g.Public[0].String()
	}
	site.reset()
	site.outer = s.attach(outside{site}, l)
	site.inner = &port{Segment: site.Segment, device: inside{site}}
	site.up = site.inner
	return site
}

// Reboot makes the gateway forget its mappings and flows, not its forwards.
func (s *Site) Reboot() {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	forwards := s.nat.forwards
	s.reset()
	s.nat.forwards = forwards
}

func (s *Site) reset() {
	s.nat = newNAT(s.gateway.NAT, s.gateway.Public)
	if s.gateway.Firewall != nil {
		s.firewall = newFilter(*s.gateway.Firewall)
	}
}

// Renumber gives the gateway other public addresses, as a carrier does at night.
// Mappings are forgotten, forwards too.
func (s *Site) Renumber(public ...netip.Addr) {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	s.gateway.Public = public
	s.reset()
}

// SetLink changes the link above the gateway.
func (s *Site) SetLink(l Link) {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	s.outer.link = l
}

// BlockUDP makes the gateway drop everything, both ways, or stop doing so.
func (s *Site) BlockUDP(on bool) {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	s.gateway.NAT.Blocked = on
}

// Block makes the gateway drop the packets for which drop is true, both ways; nil
// ends it. Packets are shown as the inside sees them. drop must not call the net.
func (s *Site) Block(drop func(Packet) bool) {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	s.block = drop
}

// Forward lets everybody reach an internal endpoint by a public one, as a port
// forward set by hand or by PCP does. What the internal endpoint sends of its own
// leaves as the NAT says; a preserving one may give it the forwarded port, which is
// kept from all others. A zero internal endpoint ends the forward.
func (s *Site) Forward(public, internal netip.AddrPort) {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	if !internal.IsValid() {
		delete(s.nat.forwards, public)
		return
	}
	s.nat.forwards[public] = internal
}

// Flows returns how many flows the NAT holds, and the most that it ever held since
// the last reboot.
func (s *Site) Flows() (now, peak int) {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	s.nat.flows.sweep(time.Now())
	return len(s.nat.flows.flows), s.nat.flows.peak
}

// Mapping returns the public endpoint that an internal one has towards a remote,
// if it has one.
func (s *Site) Mapping(internal, remote netip.AddrPort) (public netip.AddrPort, ok bool) {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	for _, k := range []mappingKey{{internal, remote}, {internal, s.nat.Mapping.of(remote)}} {
		if m := s.nat.live(time.Now(), s.nat.inside[k]); m != nil {
			return m.public, true
		}
	}
	return netip.AddrPort{}, false
}

// inside is the gateway's side towards the site: packets on their way up.
type inside struct{ *Site }

func (s inside) owns(netip.Addr) bool   { return false }
func (s inside) onLink(netip.Addr) bool { return true } // never back up to itself

func (s inside) receive(p *packet) {
	if s.blocks(p) {
		s.net.drop(p, s, "blocked")
		return
	}
	if p.TTL <= 1 {
		s.net.drop(p, s, "ttl")
		return
	}
	p.TTL--
	if reason := s.out(p); reason != "" {
		s.net.drop(p, s, reason)
		return
	}
	if s.nat.owns(p.Dst.Addr()) {
		s.hairpin(p)
		return
	}
	s.net.trace(p, s, "out")
	s.outer.send(p)
}

// out opens the way back for a packet, and translates it unless it is routed.
func (s *Site) out(p *packet) (reason string) {
	if !s.routes(p.Src.Addr()) {
		return s.nat.out(time.Now(), p)
	}
	if s.firewall == nil {
		return ""
	}
	if _, ok := s.firewall.out(time.Now(), p.Src, p.Dst); !ok {
		return "table full"
	}
	return ""
}

// hairpin takes a packet that was translated on its way out back in.
func (s *Site) hairpin(p *packet) {
	if !s.nat.Hairpin {
		s.net.drop(p, s, "no hairpin")
		return
	}
	if reason := s.nat.in(time.Now(), p); reason != "" {
		s.net.drop(p, s, reason)
		return
	}
	s.net.trace(p, s, "hairpin")
	s.inner.send(p)
}

// outside is the gateway's side towards the segment above: packets on their way in.
type outside struct{ *Site }

func (s outside) owns(a netip.Addr) bool { return s.nat.owns(a) || s.routes(a) }
func (s outside) onLink(netip.Addr) bool { return false }

func (s outside) receive(p *packet) {
	reason := s.in(p)
	switch {
	case reason != "":
	case p.TTL <= 1: // only what is forwarded: a packet to the gateway itself has arrived
		reason = "ttl"
	case s.blocks(p):
		reason = "blocked"
	}
	if reason != "" {
		s.net.drop(p, s, reason)
		return
	}
	p.TTL--
	s.net.trace(p, s, "in")
	s.inner.send(p)
}

func (s *Site) in(p *packet) (reason string) {
	if !s.routes(p.Dst.Addr()) {
		return s.nat.in(time.Now(), p)
	}
	if s.firewall == nil {
		return ""
	}
	if _, ok := s.firewall.in(time.Now(), p.Dst, p.Src); !ok {
		return "filtered"
	}
	return ""
}

func (s *Site) routes(a netip.Addr) bool {
	return slices.ContainsFunc(s.gateway.Routed, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (s *Site) blocks(p *packet) bool {
	return s.gateway.NAT.Blocked || s.block != nil && s.block(p.Packet)
}

// String names the gateway for the trace, by the first public address it ever had.
func (s *Site) String() string { return s.name }
