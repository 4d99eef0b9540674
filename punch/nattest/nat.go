package nattest

import (
	"net/netip"
	"slices"
	"time"
)

// NAT is the behaviour of a translator, in the words of RFC 4787. The zero value
// is a full cone with random ports; see also [FullCone] and its siblings.
type NAT struct {
	Mapping Dependence
	Filter
	Allocation       Allocation
	Hairpin          bool // packets from inside to a public endpoint of the NAT come back in (§6)
	ArbitraryPooling bool // each mapping takes any public address; else one per internal address (§4.1)
	Blocked          bool // all UDP is dropped

	// Clash is the trap of a Linux gateway whose INPUT chain accepts: a packet
	// that no flow lets in is taken for the gateway's own, and is remembered for
	// localLifetime. A flow opened from inside to the same remote endpoint can't
	// have that public port any more, and gets another.
	Clash bool
}

// localLifetime is Linux's nf_conntrack_udp_timeout.
const localLifetime = 30 * time.Second

// nat is a NAT at work: mappings above, the flows through them in the filter.
type nat struct {
	NAT
	public   []netip.Addr
	flows    *filter
	ports    *allocator
	paired   map[netip.Addr]int                // internal address → index in public, per family
	inside   map[mappingKey]*mapping           // by internal endpoint
	outside  map[netip.AddrPort]*mapping       // by public endpoint
	local    map[flow]time.Time                // Clash: until when a public endpoint is the gateway's own towards a remote
	forwards map[netip.AddrPort]netip.AddrPort // public → internal, by hand; survive a reboot
}

// mappingKey is an internal endpoint with as much of the remote as the mapping
// depends on, or with all of it where a clash or a forward made an exception.
type mappingKey struct{ inside, remote netip.AddrPort }

type mapping struct {
	inside, public netip.AddrPort
	expires        time.Time // the latest of its flows
}

func newNAT(c NAT, public []netip.Addr) *nat {
	return &nat{
		NAT: c, public: public,
		flows: newFilter(c.Filter), ports: newAllocator(c.Allocation),
		paired: map[netip.Addr]int{}, inside: map[mappingKey]*mapping{}, outside: map[netip.AddrPort]*mapping{},
		local: map[flow]time.Time{}, forwards: map[netip.AddrPort]netip.AddrPort{},
	}
}

// out translates the source of a packet from inside; why not, if it can't.
func (t *nat) out(now time.Time, p *packet) (reason string) {
	m, reason := t.mappingFor(now, p)
	if reason != "" {
		return reason
	}
	expires, ok := t.flows.out(now, m.public, p.Dst)
	if !ok {
		return "table full"
	}
	m.keep(expires)
	p.Src = m.public
	return ""
}

// in translates the destination of a packet from outside; why not, if it can't.
func (t *nat) in(now time.Time, p *packet) (reason string) {
	if to, ok := t.forwards[p.Dst]; ok {
		return t.forward(now, p, to)
	}
	own := flow{p.Dst, p.Src}
	if now.Before(t.local[own]) {
		t.local[own] = now.Add(localLifetime)
		return "filtered"
	}
	m := t.live(now, t.outside[p.Dst])
	if m != nil {
		if expires, ok := t.flows.in(now, m.public, p.Src); ok {
			m.keep(expires)
			p.Dst = m.inside
			return ""
		}
	}
	if t.Clash {
		t.local[own] = now.Add(localLifetime)
	}
	return "filtered"
}

// forward lets a packet in by a static forward. Answers leave from the public
// endpoint that was asked, whatever mapping the internal endpoint has otherwise.
func (t *nat) forward(now time.Time, p *packet, to netip.AddrPort) (reason string) {
	expires, ok := t.flows.out(now, p.Dst, p.Src)
	if !ok {
		return "table full"
	}
	t.inside[mappingKey{to, p.Src}] = &mapping{to, p.Dst, expires}
	p.Dst = to
	return ""
}

// mappingFor returns the mapping that a packet from inside uses, a new one if
// need be.
func (t *nat) mappingFor(now time.Time, p *packet) (m *mapping, reason string) {
	exception := mappingKey{p.Src, p.Dst}
	if m := t.live(now, t.inside[exception]); m != nil {
		return m, ""
	}
	key := mappingKey{p.Src, t.Mapping.of(p.Dst)}
	if m := t.live(now, t.inside[key]); m != nil {
		if t.flows.live(now, m.public, p.Dst) != nil || !t.clashes(now, m.public, p.Dst) {
			return m, ""
		}
		key = exception
	}
	return t.allocate(now, p, key)
}

func (t *nat) allocate(now time.Time, p *packet, key mappingKey) (m *mapping, reason string) {
	addr, ok := t.pool(p)
	if !ok {
		return nil, "no route"
	}
	port, ok := t.ports.pick(p.Src, p.luck, func(port uint16) bool {
		public := netip.AddrPortFrom(addr, port)
		to, forwarded := t.forwards[public]
		return (!forwarded || to == p.Src) && t.live(now, t.outside[public]) == nil && !t.clashes(now, public, p.Dst)
	})
	if !ok {
		return nil, "no port"
	}
	m = &mapping{inside: p.Src, public: netip.AddrPortFrom(addr, port)}
	t.inside[key], t.outside[m.public] = m, m
	return m, ""
}

// pool chooses the public address of a new mapping.
func (t *nat) pool(p *packet) (netip.Addr, bool) {
	var same []netip.Addr
	for _, a := range t.public {
		if a.Is4() == p.Src.Addr().Is4() {
			same = append(same, a)
		}
	}
	if len(same) == 0 {
		return netip.Addr{}, false
	}
	if t.ArbitraryPooling {
		return same[p.luck.IntN(len(same))], true
	}
	i, ok := t.paired[p.Src.Addr()]
	if !ok {
		i = len(t.paired)
		t.paired[p.Src.Addr()] = i
	}
	return same[i%len(same)], true
}

func (t *nat) owns(a netip.Addr) bool { return slices.Contains(t.public, a) }

// clashes reports whether the gateway holds this pair of endpoints for its own.
func (t *nat) clashes(now time.Time, public, remote netip.AddrPort) bool {
	return now.Before(t.local[flow{public, remote}])
}

// live returns m unless it has expired.
func (t *nat) live(now time.Time, m *mapping) *mapping {
	if m == nil || !now.Before(m.expires) {
		return nil
	}
	return m
}

func (m *mapping) keep(until time.Time) {
	if until.After(m.expires) {
		m.expires = until
	}
}
