package punch

import (
	"net/netip"
	"time"

	"meshd/punch/wire"
)

// maxAttempts is how many attempts are remembered for each peer.
const maxAttempts = 8

// Via is a kind of way for data.
type Via uint8

// Ways for data, worst first.
const (
	ViaNone   Via = iota // nothing gets through
	ViaTLS               // relayed, over WebSocket and TLS
	ViaRelay             // relayed, over UDP
	ViaDirect            // to an address of the peer
)

// String returns the word used in status and logs.
func (v Via) String() string {
	switch v {
	case ViaTLS:
		return "tls"
	case ViaRelay:
		return "relay"
	case ViaDirect:
		return "direct"
	}
	return "none"
}

// Status is what the engine knew at one moment. It is shared: read only.
type Status struct {
	Hub   HubStatus
	Local Local
	Peers map[Key]PeerStatus
	Relay RelayStats
}

// HubStatus is the session with the relay.
type HubStatus struct {
	Via      Via            // ViaNone, ViaTLS or ViaRelay
	Since    time.Time      // Via is so since
	RTT      time.Duration  // 0: not measured
	Observed netip.AddrPort // where the relay sees us; by UDP only
}

// PeerStatus is how one peer is reached.
type PeerStatus struct {
	Path     Via
	Addr     netip.AddrPort // of a direct path
	Class    string         // of a direct path: "lan" or "direct"
	Since    time.Time      // direct, or not, since
	Reason   string         // one short phrase: why this path
	Relay    string         // who relays: a peer's name; "": the hub
	RTT      time.Duration  // to the peer by that path; 0: not measured
	Largest  int            // datagram that gets through, in bytes of UDP payload; 0: not known
	Singly   bool           // packets go one by one, for bundles of them get lost on the way
	NAT      wire.NAT       // the peer's, as it told
	Attempts []Attempt      // the last ones, oldest first
}

// NewSockets is the strategy of an attempt that left the usual ports, for a gateway
// held them for its own.
const NewSockets = "new sockets"

// Attempt is the record of one try to reach a peer directly.
type Attempt struct {
	At      time.Time
	Took    time.Duration
	Why     string // what started it
	Tried   []Tried
	Verdict string

	// Of a search for a path that the usual ports don't give, if there was one.
	Strategy string // NewSockets, or through a hard NAT "predicted", "predicted both" or "birthday"
	Spent    int    // probes sent for it, beside those in Tried
	Sockets  int    // opened for it here
}

// Tried is one address in an attempt.
type Tried struct {
	Addr   netip.AddrPort
	Kind   wire.CandidateKind
	Probes int           // PINGs sent
	Heard  bool          // something authentic came from it
	RTT    time.Duration // 0: no PONG
}

// status describes the path for [Status].
func (p *path) status(now time.Time) PeerStatus {
	s := PeerStatus{Path: p.relay.via, Since: p.since, Reason: p.reason, NAT: p.peer.nat, Attempts: p.tried}
	if p.cur == nil && p.relay.via != ViaNone && !p.peer.online {
		s.Path, s.Reason = ViaNone, "offline"
	}
	if p.cur != nil && p.confirmed {
		s.Path, s.Addr, s.Class = ViaDirect, p.cur.addr, p.cur.tier.String()
		s.RTT = p.cur.rtt.smooth
	}
	if p.try != nil {
		s.Attempts = append(s.Attempts[:len(s.Attempts):len(s.Attempts)], p.try.report(now, "running"))
	}
	return s
}

// status tells how things stand.
func (l *loop) status() Status {
	s := Status{
		Hub:   HubStatus{Via: l.hub.via, Since: l.hub.since, RTT: l.hub.rtt, Observed: l.hub.observed},
		Local: l.local.local(),
		Relay: l.mux.onwards.stats(),
		Peers: make(map[Key]PeerStatus, len(l.members.all)),
	}
	now := time.Now()
	for key, m := range l.members.all {
		if m.plain != nil {
			s.Peers[key] = m.plain.status(m.Online)
			continue
		}
		p := m.path.status(now)
		if c := m.detour.cur; c != nil && (p.Path == ViaRelay || p.Path == ViaTLS) {
			p.RTT = c.rtt.smooth
			if c.key != (Key{}) {
				p.Relay = l.relayName(c)
			}
		}
		p.Largest, p.Singly = m.largest, m.losesBundles()
		s.Peers[key] = p
	}
	return s
}
