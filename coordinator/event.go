package coordinator

import (
	"net/netip"
	"time"

	"meshd/dnssd"
)

// Event is something that happened or is asked for; see [Network.Decide].
type Event interface{ event() }

// The kinds of event.
type (
	// Join asks for membership.
	Join struct {
		Identity  PublicKey
		WireGuard PublicKey
		Hostname  string
		Secret    SecretHash // zero: none was shown
		Version   string
	}
	// Approve admits a pending or expired member.
	Approve struct{ ID MemberID }
	// Rename gives a member another name.
	Rename struct {
		ID   MemberID
		Name string
	}
	// Expire shuts a member out until it is approved again.
	Expire struct{ ID MemberID }
	// Delete ends a membership.
	Delete struct{ ID MemberID }
	// RotateKey replaces a member's WireGuard key.
	RotateKey struct {
		ID        MemberID
		WireGuard PublicKey
	}
	// CreateKey makes a join key.
	CreateKey struct {
		Hash      SecretHash
		Reusable  bool
		Approved  bool
		Ephemeral bool
		Expires   time.Duration // from now; zero: DefaultKeyExpiry
		Tags      []string
	}
	// ExpireKey ends a join key.
	ExpireKey struct{ ID KeyID }
	// Connect says that a member's map stream has begun.
	Connect struct {
		ID      MemberID
		Version string
	}
	// Disconnect says that a member has no map stream any more.
	Disconnect struct{ ID MemberID }
	// Publish replaces what a member says of itself: endpoints, NAT behaviour,
	// offer to relay, services and text.
	Publish struct {
		ID        MemberID
		Endpoints []Endpoint
		NAT       NAT
		Relaying  bool
		Services  []dnssd.Service
		Text      []string
	}
	// Observe says where a member's relay session comes from; a zero address
	// means that it ended.
	Observe struct {
		ID   MemberID
		Addr netip.AddrPort
		Via  string // udp or tls
	}
	// AddPlain makes a device with WireGuard alone a member.
	AddPlain struct {
		Name      string
		WireGuard PublicKey
	}
	// Handshake says that a plain member was heard, and from where.
	Handshake struct {
		ID   MemberID
		Addr netip.AddrPort
	}
	// Tick lets time pass: what has expired is dropped. Up is since when members
	// have been able to connect; nobody was offline before.
	Tick struct{ Up time.Time }
)

func (Join) event()       {}
func (Approve) event()    {}
func (Rename) event()     {}
func (Expire) event()     {}
func (Delete) event()     {}
func (RotateKey) event()  {}
func (CreateKey) event()  {}
func (ExpireKey) event()  {}
func (Connect) event()    {}
func (Disconnect) event() {}
func (Publish) event()    {}
func (Observe) event()    {}
func (AddPlain) event()   {}
func (Handshake) event()  {}
func (Tick) event()       {}
