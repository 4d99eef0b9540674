package lab

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"meshd/punch/nattest"
)

// translator is a gateway's NAT in this process. UDP is treated as told; TCP and
// ICMP as a home router does, so that only what is under test is strange.
type translator struct {
	udp, tcp, icmp *nattest.Translator
}

func newTranslator(n nattest.NAT, seed uint64, public netip.Addr) *translator {
	plain := nattest.PortRestricted
	plain.Allocation = nattest.Preserving()
	plain.Lifetime = 2 * time.Hour // RFC 5382 REQ-5
	return &translator{
		udp:  nattest.NewTranslator(n, seed, public),
		tcp:  nattest.NewTranslator(plain, seed, public),
		icmp: nattest.NewTranslator(plain, seed, public),
	}
}

// newTranslators sets NATs to work in series, from the host outwards. The last has
// the public address.
func newTranslators(nats []nattest.NAT, public netip.Addr) []*translator {
	var out []*translator
	for i, n := range nats {
		addr := access(i + 2)
		if i == len(nats)-1 {
			addr = public
		}
		out = append(out, newTranslator(n, rand.Uint64(), addr))
	}
	return out
}

// access is the address of a gateway in front of its provider's NAT: one of
// 100.64.0.0/10 (RFC 6598).
func access(n int) netip.Addr { return netip.AddrFrom4([4]byte{100, 64, byte(n), 2}) }

// reboot makes the gateway forget.
func (t *translator) reboot() {
	for _, n := range []*nattest.Translator{t.udp, t.tcp, t.icmp} {
		n.Reboot()
	}
}

func (t *translator) of(p ipv4) *nattest.Translator {
	switch p.proto() {
	case UDP:
		return t.udp
	case TCP:
		return t.tcp
	}
	return t.icmp
}

// verdict is what becomes of a packet at a translator.
type verdict uint8

const (
	dropped verdict = iota
	passed
	turned // back to the inside: it was for one of the NAT's own public endpoints
)

// out translates a packet from inside, in place.
func (t *translator) out(now time.Time, p ipv4) verdict {
	if !p.age(1) {
		return dropped
	}
	if q, ok := p.quoted(); ok {
		return t.errorOut(now, p, q)
	}
	nat := t.of(p)
	src, reason := nat.Out(now, p.src(), p.dst())
	if reason != "" {
		return dropped
	}
	p.setSrc(src)
	if !nat.Owns(p.dst().Addr()) {
		return passed
	}
	if !nat.Hairpins() || t.enter(now, p) != passed {
		return dropped
	}
	return turned
}

// in translates a packet from outside, in place.
func (t *translator) in(now time.Time, p ipv4) verdict {
	if q, ok := p.quoted(); ok {
		return t.errorIn(now, p, q)
	}
	if t.enter(now, p) != passed || !p.age(1) {
		return dropped
	}
	return passed
}

func (t *translator) enter(now time.Time, p ipv4) verdict {
	dst, reason := t.of(p).In(now, p.src(), p.dst())
	if reason != "" {
		return dropped
	}
	p.setDst(dst)
	return passed
}

// errorIn translates an ICMP error from outside, about a packet of the inside.
func (t *translator) errorIn(now time.Time, p, about ipv4) verdict {
	inside, ok := t.of(about).Inside(now, about.src())
	if !ok || !p.age(1) {
		return dropped
	}
	about.setSrc(inside)
	p.seal()
	p.setDst(netip.AddrPortFrom(inside.Addr(), 0))
	return passed
}

// errorOut translates an ICMP error of an inside host about a packet that was
// let in to it.
func (t *translator) errorOut(now time.Time, p, about ipv4) verdict {
	public, reason := t.of(about).Out(now, about.dst(), about.src())
	if reason != "" {
		return dropped
	}
	about.setDst(public)
	p.seal()
	p.setSrc(netip.AddrPortFrom(public.Addr(), 0))
	return passed
}

// leave takes a packet from a site outwards through the translators in their order.
// A packet that is turned at one of them comes back through those before it.
func leave(ts []*translator, now time.Time, p ipv4) verdict {
	for i, t := range ts {
		switch t.out(now, p) {
		case dropped:
			return dropped
		case turned:
			if arrive(ts[:i], now, p) != passed {
				return dropped
			}
			return turned
		}
	}
	return passed
}

// arrive takes a packet from outside into a site.
func arrive(ts []*translator, now time.Time, p ipv4) verdict {
	for i := len(ts) - 1; i >= 0; i-- {
		if ts[i].in(now, p) != passed {
			return dropped
		}
	}
	return passed
}
