package nattest

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Translator is a [NAT] at work outside of a [Net]: for a lab whose packets are
// real. It knows endpoints and time, no packets; the endpoints of TCP and the
// identifiers of ICMP will do as well as those of UDP. Safe for concurrent use.
type Translator struct {
	kind   NAT
	public []netip.Addr

	mu   sync.Mutex // guards what follows
	nat  *nat
	luck *rand.Rand
}

// NewTranslator sets a NAT to work with these public addresses. Its random ports
// follow from seed.
func NewTranslator(n NAT, seed uint64, public ...netip.Addr) *Translator {
	return &Translator{kind: n, public: public, nat: newNAT(n, public), luck: rand.New(rand.NewPCG(seed, 0))}
}

// Out returns the source that a packet from inside has outside. When there is
// none, reason says why the packet is dropped.
func (t *Translator) Out(now time.Time, src, dst netip.AddrPort) (public netip.AddrPort, reason string) {
	if t.kind.Blocked {
		return netip.AddrPort{}, "blocked"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.packet(src, dst)
	reason = t.nat.out(now, &p)
	return p.Src, reason
}

// In returns the destination that a packet from outside has inside. When it may
// not enter, reason says why. Packets of the inside to a public endpoint come in
// here too, after Out, if the NAT hairpins.
func (t *Translator) In(now time.Time, src, dst netip.AddrPort) (inside netip.AddrPort, reason string) {
	if t.kind.Blocked {
		return netip.AddrPort{}, "blocked"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.packet(src, dst)
	reason = t.nat.in(now, &p)
	return p.Dst, reason
}

// Inside returns whose a public endpoint is at present, and changes nothing: for
// ICMP errors, which quote a packet that went out.
func (t *Translator) Inside(now time.Time, public netip.AddrPort) (inside netip.AddrPort, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := t.nat.live(now, t.nat.outside[public]); m != nil {
		return m.inside, true
	}
	return netip.AddrPort{}, false
}

// Hairpins reports whether a packet to this address, sent from inside, comes back in.
func (t *Translator) Hairpins() bool { return t.kind.Hairpin }

// Owns reports whether an address is one of the public ones.
func (t *Translator) Owns(a netip.Addr) bool { return slices.Contains(t.public, a) }

// Reboot forgets every mapping and flow.
func (t *Translator) Reboot() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nat = newNAT(t.kind, t.public)
}

// Flows returns how many flows the NAT holds, and the most that it ever held
// since the last reboot.
func (t *Translator) Flows(now time.Time) (held, peak int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nat.flows.sweep(now)
	return len(t.nat.flows.flows), t.nat.flows.peak
}

func (t *Translator) packet(src, dst netip.AddrPort) packet {
	return packet{Packet: Packet{Src: src, Dst: dst}, luck: t.luck}
}
