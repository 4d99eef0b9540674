package dnssd

import (
	"net/netip"
	"slices"
)

// Member is one host of the mesh, as far as the zone shows it.
type Member struct {
	Name       string         // DNS label, unique in the zone
	Key        [32]byte       // WireGuard public key
	Addresses  []netip.Addr   // overlay addresses
	AllowedIPs []netip.Prefix // prefixes routed to it
	// Online members with an endpoint are published as WireGuard peers. The
	// endpoint of one that is offline may belong to a stranger by now, and its
	// services can't be reached.
	Online bool
	Publication
}

// Publication is what a member says of itself: all that it may write into the
// zone, whole.
type Publication struct {
	Endpoint   netip.AddrPort // the best one; zero: none
	Candidates []Candidate    // all of them, best first
	Traits     []string       // "key=value" beside the candidates: how to deal with them
	Text       []string       // "key=value" beside wgsd's in the peer's TXT record
	Services   []Service      // by name, if they come from an update
}

// Candidate is an address at which a member may be reached by UDP.
type Candidate struct {
	Kind string // lower-case word: host, reflexive, mapped …
	Addr netip.AddrPort
}

// Service is a DNS-SD service (RFC 6763) that a member offers, or that it knows
// in its own LAN.
type Service struct {
	Instance string   `json:"instance"` // name for people, 1 to 63 bytes of any kind
	Type     string   `json:"type"`     // like _http._tcp
	Port     uint16   `json:"port"`
	Text     []string `json:"text,omitempty"` // "key=value", 255 bytes each
	// Host is a label below the member's own name, for a host that is not in
	// the mesh: printer.nas.<zone>. Empty: the member itself.
	Host      string       `json:"host,omitempty"`
	Addresses []netip.Addr `json:"addresses,omitempty"` // of Host
}

// What a member may publish; more is refused.
const (
	MaxCandidates = 32
	MaxServices   = 32
	MaxText       = 256  // bytes of Publication.Text
	MaxTraits     = 256  // bytes of Publication.Traits
	MaxServiceTXT = 1024 // bytes of Service.Text
)

func (m Member) equal(o Member) bool {
	return m.Name == o.Name && m.Key == o.Key && m.Online == o.Online &&
		slices.Equal(m.Addresses, o.Addresses) && slices.Equal(m.AllowedIPs, o.AllowedIPs) &&
		m.Publication.Equal(o.Publication)
}

// Equal reports whether both say the same in the same order.
func (p Publication) Equal(o Publication) bool {
	return p.Endpoint == o.Endpoint && slices.Equal(p.Candidates, o.Candidates) &&
		slices.Equal(p.Traits, o.Traits) && slices.Equal(p.Text, o.Text) && slices.EqualFunc(p.Services, o.Services, Service.Equal)
}

// Equal reports whether both are the same in every field.
func (s Service) Equal(o Service) bool {
	return s.Instance == o.Instance && s.Type == o.Type && s.Port == o.Port && s.Host == o.Host &&
		slices.Equal(s.Text, o.Text) && slices.Equal(s.Addresses, o.Addresses)
}
