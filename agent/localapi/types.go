package localapi

import (
	"net/netip"
	"time"
)

// State is where an agent stands.
type State string

// States of an agent.
const (
	Stopped  State = "stopped"  // told to be down, or never joined
	Joining  State = "joining"  // no answer from the coordinator yet, and no map on disk
	Pending  State = "pending"  // waits for the owner's approval
	Starting State = "starting" // has a map, brings the interface up
	Running  State = "running"
	Failed   State = "failed" // see Failure
)

// Up reports whether the mesh can carry traffic.
func (s State) Up() bool { return s == Running }

// Status is the answer to GET /status, and what `meshd status --json` prints.
// Fields are added, never renamed or removed.
type Status struct {
	Version string   `json:"version"` // of the daemon
	Mesh    string   `json:"mesh"`    // local name of the mesh
	Backend string   `json:"backend"` // userspace or kernel
	State   State    `json:"state"`
	Self    Self     `json:"self"`
	Hub     Hub      `json:"hub"`
	Peers   []Peer   `json:"peers"` // by name
	Health  []string `json:"health"`
	Failure *Error   `json:"failure,omitempty"` // why State is failed
	DNS     DNS      `json:"dns"`
	// Relaying is set while this machine offers to relay for other members.
	Relaying *Relaying `json:"relaying,omitempty"`
	// FastPath is set where this program carries packets, and has some.
	FastPath *FastPath `json:"fast_path,omitempty"`
}

// FastPath is what the user-space WireGuard's fast path has carried since the mesh
// is up. Packets that it left to wireguard-go are not counted.
type FastPath struct {
	Sealed uint64 `json:"sealed_packets"`
	Opened uint64 `json:"opened_packets"`
}

// Relaying is what this machine has relayed for other members since its start.
type Relaying struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	Dropped uint64 `json:"dropped"` // packets over the limit, or for whom there is no direct path
}

// Self is this machine as a member.
type Self struct {
	Name      string       `json:"name"`
	Key       string       `json:"key"` // WireGuard public key, base64
	Addresses []netip.Addr `json:"addresses"`
	Interface string       `json:"interface"`
	Endpoints []Endpoint   `json:"endpoints"`
	NAT       string       `json:"nat"`     // in words, e.g. "endpoint-independent mapping, address-and-port-dependent filtering"
	Inbound   string       `json:"inbound"` // what other members may begin here: all, none, or a list such as tcp/22,icmp
}

// Endpoint is an address at which this machine may be reached.
type Endpoint struct {
	Addr netip.AddrPort `json:"addr"`
	Kind string         `json:"kind"` // host, reflexive, mapped, observed, guess
	// Protocol is by which a gateway mapped it: PCP, NAT-PMP or UPnP. It is empty
	// for an endpoint that the owner forwards and advertises.
	Protocol string `json:"protocol,omitempty"`
	// Untrusted is set for a mapping that peers are not told of: its address is
	// private or shared, so there is another NAT in front of the gateway.
	Untrusted bool `json:"untrusted,omitempty"`
}

// Hub is the coordinator as this machine sees it.
type Hub struct {
	URL       string    `json:"url"`
	Connected bool      `json:"connected"` // the control stream is up
	Since     time.Time `json:"since,omitzero"`
	RTT       float64   `json:"rtt_ms"`
	UDP       bool      `json:"udp"` // relay session by UDP; false: by TLS, or none
	Error     string    `json:"error,omitempty"`
}

// Peer is another member.
type Peer struct {
	Name          string         `json:"name"`
	Key           string         `json:"key"`
	Addresses     []netip.Addr   `json:"addresses"`
	Online        bool           `json:"online"`
	Plain         bool           `json:"plain,omitempty"`  // it runs WireGuard, and nothing of ours
	Relays        bool           `json:"relays,omitempty"` // it offers to relay for others
	Path          string         `json:"path"`             // direct, relay, tls, none
	Relay         string         `json:"relay,omitempty"`  // the member that relays; "": the coordinator does
	Endpoint      string         `json:"endpoint"`         // "ip:port" of a direct path
	Since         time.Time      `json:"since,omitzero"`
	Reason        string         `json:"reason"` // why this path
	RTT           float64        `json:"rtt_ms"`
	MTU           int            `json:"mtu"`              // what the path carries of the interface's; 0: not measured yet
	Singly        bool           `json:"singly,omitempty"` // packets go one by one: bundles of them get lost on this path
	LAN           bool           `json:"lan,omitempty"`    // heard of on this machine's LAN, by multicast DNS
	LastHandshake time.Time      `json:"last_handshake,omitzero"`
	RxBytes       uint64         `json:"rx_bytes"`
	TxBytes       uint64         `json:"tx_bytes"`
	AllowedIPs    []netip.Prefix `json:"allowed_ips"`
}

// DNS says how names of the mesh are answered on this host.
type DNS struct {
	Zone   string `json:"zone"`
	Server string `json:"server"` // overlay address of this machine that answers for the zone; "": none does
	// Mode is how this machine's programs find the names: resolved, networkmanager,
	// resolvconf, hosts (they stand in the hosts file); ask: they don't, but whoever
	// asks Server gets an answer; pending: they are being told; off: nobody does.
	Mode    string   `json:"mode"`
	Reasons []string `json:"reasons,omitempty"` // why better modes were passed over, the best first
	Changed []string `json:"changed,omitempty"` // what is different on this machine, in words
	Error   string   `json:"error,omitempty"`   // why it isn't answered on every overlay address of this machine
}

// DNSPending is the Mode of a mesh that has just come up: programs that serve the
// host's names may take seconds to be told.
const DNSPending = "pending"

// DNSKey is the answer to GET /dns/key: what signs DNS messages to the
// coordinator (TSIG, RFC 8945).
type DNSKey struct {
	Name      string `json:"name"`
	Algorithm string `json:"algorithm"`
	Secret    []byte `json:"secret"` // base64 in JSON
}

// UpRequest is the body of POST /up.
type UpRequest struct {
	Join     string `json:"join,omitempty"`
	Hostname string `json:"hostname,omitempty"`
}

// PingReply is one line of the answer to GET /ping?peer=NAME.
type PingReply struct {
	Peer string     `json:"peer"`
	Addr netip.Addr `json:"addr"`
	Path string     `json:"path"` // direct, relay, tls
	Via  string     `json:"via"`  // "203.0.113.9:41641", "relay", "relay nas" or "tls"
	// Relay is the member that relayed the answer; "": the coordinator did, or nobody.
	Relay string  `json:"relay,omitempty"`
	RTT   float64 `json:"rtt_ms"`
}

// Version is the answer to GET /version.
type Version struct {
	Version string `json:"version"`
	PID     int    `json:"pid"`
}
