package tunnel

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"meshd/agent/tunnel/filter"
)

// Key is a peer's public WireGuard key. It is an alias so that packages which
// must not know each other agree on it.
type Key = [32]byte

// PrivateKey is a WireGuard private key (Curve25519, clamped or not).
type PrivateKey [32]byte

// String hides the key: a private key has no place in a log.
func (PrivateKey) String() string { return "(private key)" }

// GoString hides the key from %#v.
func (PrivateKey) GoString() string { return "(private key)" }

// DefaultMTU is the interface's MTU unless told otherwise: what fits an
// underlay of 1500 bytes by the longest way that a packet can take.
//
//	1412 + 32 WireGuard + 8 relay header + 8 UDP + 40 IPv6 = 1500
const DefaultMTU = 1412

// MTUs outside of these are refused. IPv6 demands the lower one, and the upper
// one still leaves room for WireGuard's header in one UDP datagram.
const (
	minMTU = 1280
	maxMTU = 65535 - 88
)

// Tunnel is one WireGuard interface, up from [New] to Close. Its methods are
// safe for concurrent use.
type Tunnel interface {
	// Name is the interface's name as the system calls it. It differs from
	// [Config.Interface] where the system chooses (macOS).
	Name() string

	// Backend is [Userspace] or [Kernel].
	Backend() string

	// SetPeers makes peers the whole set of peers. Only what differs reaches the
	// device, so sessions of peers that stay are not disturbed. A set that names
	// a peer twice, or gives one prefix to two peers, is refused whole.
	SetPeers(peers []Peer) error

	// SetPrivateKey replaces the key of this side. Peers shake hands anew.
	SetPrivateKey(PrivateKey) error

	// SetInbound says what peers may begin, see [filter.Rules]. What this side has
	// begun is answered whatever they say.
	SetInbound(filter.Rules) error

	// Stats tells the counters of every peer.
	Stats() (map[Key]Stats, error)

	// Wait returns a channel that is closed when the device has ended: by Close,
	// or because its interface was deleted by somebody else.
	Wait() <-chan struct{}

	// Close closes the transport, removes the interface, and returns when all
	// has ended. It is idempotent.
	Close() error
}

// Peer is a member at the other end of the tunnel.
type Peer struct {
	Key          Key
	AllowedIPs   []netip.Prefix // its addresses inside; host bits are masked off
	Keepalive    time.Duration  // 0: none; rounded up to seconds; up to 65535 s
	PresharedKey [32]byte       // zero: none
}

// Stats are the counters of a peer since it was added.
type Stats struct {
	LastHandshake time.Time // zero: never
	RxBytes       uint64    // authentic packets, WireGuard's overhead included
	TxBytes       uint64
}

// Config says what [New] makes.
type Config struct {
	Interface  string     // wanted name, "meshd0"; 1..15 bytes on Linux
	MTU        int        // 0: DefaultMTU; else 1280..65447
	PrivateKey PrivateKey // required
	Transport  Transport  // required; the tunnel closes it
	Backend    string     // what [Choose] said; "" and Auto: Userspace
	Port       uint16     // UDP, of the kernel's WireGuard; the transport's own in user space
	Mark       uint32     // firewall mark of what the kernel's WireGuard sends; the transport's own in user space
	Inbound    filter.Rules
	Log        *slog.Logger
}

// New creates the interface and starts WireGuard on it, without peers. Errors
// that a person can do something about are an [*Error]. After an error the
// transport may or may not be closed; the caller closes it.
func New(c Config) (Tunnel, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	if c.Backend == Kernel {
		return newKernel(c)
	}
	dev, err := openTUN(c.Interface, c.MTU, c.Log)
	if err != nil {
		return nil, err
	}
	return newUserspace(c, dev)
}

// complete checks c and fills in what was left out.
func (c *Config) complete() error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	switch {
	case c.Transport == nil:
		panic("tunnel: no transport")
	case c.MTU < minMTU || c.MTU > maxMTU:
		return &Error{Message: fmt.Sprintf("mtu %d is out of range %d..%d", c.MTU, minMTU, maxMTU)}
	case !validName(c.Interface):
		return &Error{
			Message: fmt.Sprintf("interface name %q is not valid: 1 to 15 characters, no space, slash or colon", c.Interface),
			Hint:    hintInterface,
		}
	}
	if c.Backend == Auto || c.Backend == Kernel {
		return nil
	}
	_, err := Choose(cmp.Or(c.Backend, Userspace))
	return err
}

// validName judges by the rules of Linux (dev_valid_name), which are the
// narrowest.
func validName(name string) bool {
	return name != "" && len(name) <= 15 && name != "." && name != ".." && !strings.ContainsAny(name, "/: \t\n\v\f\r%")
}

// inBase64 names a peer in messages as `wg` would show its key.
func inBase64(k Key) string { return base64.StdEncoding.EncodeToString(k[:]) }
