package localapi

import (
	"net/netip"
	"time"
)

// NAT is how the address translation in front of a machine behaves, as far as is
// known, in the words of RFC 4787.
type NAT struct {
	Words      string `json:"words"`      // for a person
	Class      string `json:"class"`      // of RFC 3489: full cone, restricted cone, port-restricted cone, symmetric, …; "": unknown
	Mapping    string `json:"mapping"`    // "", endpoint-independent, address-dependent, address-and-port-dependent
	Filtering  string `json:"filtering"`  // likewise
	Allocation string `json:"allocation"` // "", preserving, sequential, random
	Delta      int    `json:"delta,omitempty"`
	Low        uint16 `json:"low,omitempty"` // bounds of a random allocation
	High       uint16 `json:"high,omitempty"`
}

// Netcheck is the answer to GET /netcheck, and what `meshd netcheck --json`
// prints. Fields are added, never renamed or removed.
type Netcheck struct {
	UDP         bool             `json:"udp"` // gets through, by IPv4 or IPv6
	IPv4        NetcheckFamily   `json:"ipv4"`
	IPv6        NetcheckFamily   `json:"ipv6"`
	Servers     []NetcheckServer `json:"servers"`      // that were asked: the hub's ports, or those of --stun
	PortMapping []string         `json:"port_mapping"` // protocols that a gateway speaks: PCP, NAT-PMP, UPnP
	Hints       []string         `json:"hints"`        // sentences: signs of a second NAT, …
	Means       string           `json:"means"`        // a sentence: who can be reached directly
}

// NetcheckFamily is what was found by one IP version.
type NetcheckFamily struct {
	Asked     bool           `json:"asked"` // there was a server, and a socket to ask by
	UDP       bool           `json:"udp"`
	Public    netip.AddrPort `json:"public,omitzero"` // as what servers see us
	NAT       bool           `json:"nat"`             // Public is no address of this machine
	Behaviour NAT            `json:"behaviour"`
	// MappingSure and FilteringSure are false where the servers had too few
	// addresses to tell: what is behind them may be one step less dependent.
	MappingSure   bool    `json:"mapping_sure"`
	FilteringSure bool    `json:"filtering_sure"`
	Hairpin       *bool   `json:"hairpin"`          // null: not told
	LifetimeLeast float64 `json:"lifetime_least_s"` // a mapping lasted for this long without traffic; 0: not measured
	LifetimeEnds  float64 `json:"lifetime_ends_s"`  // and was gone after this; 0: it outlived the test
}

// NetcheckServer is how a STUN server answered.
type NetcheckServer struct {
	Addr     netip.AddrPort `json:"addr"`
	Answered bool           `json:"answered"`
	RTT      float64        `json:"rtt_ms"`
}

// Why is the answer to GET /why?peer=NAME, and what `meshd why --json` prints.
// Fields are added, never renamed or removed.
type Why struct {
	Peer     string    `json:"peer"`
	Path     string    `json:"path"`            // direct, relay, tls, none
	Relay    string    `json:"relay,omitempty"` // the member that relays; "": the coordinator does
	Endpoint string    `json:"endpoint"`
	Since    time.Time `json:"since,omitzero"`
	Reason   string    `json:"reason"` // the engine's, for Path
	RTT      float64   `json:"rtt_ms"`
	MTU      int       `json:"mtu"`              // what the path carries of the interface's; 0: not measured yet
	Singly   bool      `json:"singly,omitempty"` // packets go one by one: bundles of them get lost on the way
	SelfNAT  NAT       `json:"self_nat"`
	PeerNAT  NAT       `json:"peer_nat"`
	Crossing string    `json:"crossing"` // of the two: plain, predicted, searched, never; "": unknown
	Verdict  string    `json:"verdict"`  // a sentence: why it is as it is
	Advice   string    `json:"advice"`   // the one thing that would make it direct; "" where it is
	Attempts []Attempt `json:"attempts"` // the last ones, oldest first
}

// Attempt is one try to reach a peer directly.
type Attempt struct {
	At       time.Time `json:"at"`
	Took     float64   `json:"took_ms"`
	Cause    string    `json:"cause"` // what started it
	Verdict  string    `json:"verdict"`
	Strategy string    `json:"strategy,omitempty"` // of a search: new sockets, or behind a hard NAT predicted, predicted both, birthday
	Spent    int       `json:"spent,omitempty"`    // probes sent for that, beside those below
	Sockets  int       `json:"sockets,omitempty"`  // opened for it here
	Tried    []Tried   `json:"tried"`
}

// Tried is one address in an attempt.
type Tried struct {
	Addr   netip.AddrPort `json:"addr"`
	Kind   string         `json:"kind"` // host, reflexive, mapped, observed, guess
	Probes int            `json:"probes"`
	Heard  bool           `json:"heard"`  // something authentic came from it
	RTT    float64        `json:"rtt_ms"` // 0: our probes were not answered
}
