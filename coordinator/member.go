package coordinator

import (
	"net/netip"
	"slices"
	"time"

	"meshd/dnssd"
)

// MemberID names a member, and its relay session. Zero names nobody; a number
// is never given twice, not even after deletion.
type MemberID uint32

// PublicKey is an Ed25519 or Curve25519 public key; which of them, the field's
// name says.
type PublicKey [32]byte

// Standing is what a member is allowed.
type Standing uint8

// Standings of a member. The numbers are in the store.
const (
	Pending  Standing = 1 // waits for its first approval; learns nothing of others
	Approved Standing = 2
	Expired  Standing = 3 // shut out until it is approved again
)

// String returns the word used in logs.
func (s Standing) String() string {
	switch s {
	case Pending:
		return "pending"
	case Approved:
		return "approved"
	case Expired:
		return "expired"
	}
	return "unknown"
}

// Member is one device of the mesh. Values are copied freely; the slices in
// them are never written to.
type Member struct {
	ID        MemberID
	Name      string    // a DNS label, unique in the mesh
	Identity  PublicKey // Ed25519: who it is
	WireGuard PublicKey // Curve25519: may rotate
	Addr4     netip.Addr
	Addr6     netip.Addr
	Standing  Standing
	Ephemeral bool // deleted when it has been offline for EphemeralGrace
	Tags      []string
	Key       KeyID           // the key that admitted it
	Created   time.Time       // when it joined
	Expires   time.Time       // when it becomes Expired; zero: never
	Version   string          // of the agent, as it says
	Signature []byte          // by the mesh's root key; empty while a mesh has none
	Services  []dnssd.Service // that it announces
	Text      []string        // of its DNS-SD text record, "key=value"
	Plain     bool            // it runs WireGuard, and nothing of ours

	Presence
}

// Presence is what changes often and is lost without harm: it reaches the store
// in batches.
type Presence struct {
	Online     bool
	LastSeen   time.Time  // zero: never
	Endpoints  []Endpoint // published by the member, kept fresh by observation
	Generation uint32     // raised whenever Endpoints or NAT change, across restarts too
	NAT        NAT
	Relaying   bool           // it relays for members that it may talk with
	Relay      string         // how its relay session is bound: udp, tls or ""
	Observed   netip.AddrPort // where that session comes from, or a plain member's handshakes
	Heard      time.Time      // a plain member's last handshake; not in the store
}

// Endpoint is an address at which a member may be reached.
type Endpoint struct {
	Addr netip.AddrPort `json:"addr"`
	Kind string         `json:"kind"` // host, reflexive, mapped, observed, guess
}

// NAT is the behaviour of the NAT in front of a member in the words of RFC
// 4787. The coordinator passes it on and draws no conclusion from it.
type NAT struct {
	Mapping    string `json:"mapping,omitempty"`
	Filtering  string `json:"filtering,omitempty"`
	Allocation string `json:"allocation,omitempty"`
	Delta      int32  `json:"delta,omitempty"`
	Low        uint32 `json:"low,omitempty"`
	High       uint32 `json:"high,omitempty"`
}

// Active reports whether the member takes part in the mesh.
func (m Member) Active() bool { return m.Standing == Approved }

// Addresses returns its overlay addresses, IPv4 first.
func (m Member) Addresses() []netip.Addr { return []netip.Addr{m.Addr4, m.Addr6} }

const (
	maxEndpoints = 64
	reflexive    = "reflexive"
)

var (
	endpointKinds = []string{"host", reflexive, "mapped", "observed", "guess"}
	behaviours    = []string{"", "endpoint-independent", "address-dependent", "address-and-port-dependent"}
	allocations   = []string{"", "preserving", "sequential", "random"}
)

func checkEndpoints(endpoints []Endpoint) error {
	if len(endpoints) > maxEndpoints {
		return invalid("%d endpoints are more than %d", len(endpoints), maxEndpoints)
	}
	for _, e := range endpoints {
		if !e.Addr.IsValid() || e.Addr.Port() == 0 || e.Addr.Addr().IsUnspecified() {
			return invalid("endpoint %q is no address and port", e.Addr)
		}
		if !slices.Contains(endpointKinds, e.Kind) {
			return invalid("endpoint %s is of unknown kind %q", e.Addr, e.Kind)
		}
	}
	return nil
}

func (n NAT) check() error {
	for _, f := range []struct {
		name, value string
		words       []string
	}{
		{"mapping", n.Mapping, behaviours},
		{"filtering", n.Filtering, behaviours},
		{"allocation", n.Allocation, allocations},
	} {
		if !slices.Contains(f.words, f.value) {
			return invalid("NAT %s %q is not known", f.name, f.value)
		}
	}
	if n.Low > 65535 || n.High > 65535 || n.Low > n.High {
		return invalid("NAT port range %d-%d is none", n.Low, n.High)
	}
	return nil
}

// refreshed returns endpoints with observed among them: if it is not there yet,
// it takes the place of the reflexive ones of its family, which the NAT has
// forgotten.
func refreshed(endpoints []Endpoint, observed netip.AddrPort) []Endpoint {
	if !observed.IsValid() || slices.ContainsFunc(endpoints, func(e Endpoint) bool { return e.Addr == observed }) {
		return endpoints
	}
	kept := slices.DeleteFunc(slices.Clone(endpoints), func(e Endpoint) bool {
		return e.Kind == reflexive && e.Addr.Addr().Is4() == observed.Addr().Is4()
	})
	return append(kept, Endpoint{Addr: observed, Kind: reflexive})
}

// observe takes in where the relay session comes from. TLS says nothing about
// how a UDP socket is seen.
func (p *Presence) observe(now time.Time, e Observe) {
	p.Relay, p.Observed = e.Via, e.Addr
	if !e.Addr.IsValid() {
		p.Relay = ""
	}
	endpoints := refreshed(p.Endpoints, p.observedUDP())
	if !slices.Equal(endpoints, p.Endpoints) {
		p.Endpoints = endpoints
		p.raise(now)
	}
}

func (p *Presence) observedUDP() netip.AddrPort {
	if p.Relay != "udp" {
		return netip.AddrPort{}
	}
	return p.Observed
}

// raise moves the generation on. It is never below the clock's seconds, so that
// it rises across a restart that lost the last ones.
func (p *Presence) raise(now time.Time) {
	p.Generation = max(p.Generation+1, uint32(now.Unix()))
}
