package wire

import (
	"bytes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"
)

// Sizes of a probe in bytes.
const (
	// ProbeSize is the size of every PING, PONG and OPEN on the wire.
	ProbeSize = 128
	// MaxConnectSize bounds a CONNECT, so that with the relay's header it fits
	// the smallest IPv6 MTU.
	MaxConnectSize = 1024

	probeOverhead = 4 + tagSize + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
	tagSize       = 8
	bodySize      = 1 + 1 + 2 + 8 + 8 + 8 + 8 + 4 + addrSize
	natSize       = 1 + 1 + 1 + 2 + 2 + 2
	connectAlign  = 64

	// MaxCandidates and MaxSamples bound the lists of a CONNECT.
	MaxCandidates = 24
	MaxSamples    = 16
)

// ProbeType is the type of a probe.
type ProbeType uint8

// Types of probe. The numbers are on the wire.
const (
	Ping    ProbeType = 1 // wants a Pong to its source
	Pong    ProbeType = 2 // answers a Ping: TxID and Sent echoed, Observed is the Ping's source
	Open    ProbeType = 3 // opens the sender's own NAT, meant to die on the way; wants no answer
	Connect ProbeType = 4 // by relay: "here is where I am, come and meet me"
)

// String returns the name used in logs.
func (t ProbeType) String() string {
	switch t {
	case Ping:
		return "ping"
	case Pong:
		return "pong"
	case Open:
		return "open"
	case Connect:
		return "connect"
	}
	return fmt.Sprintf("probe(%d)", uint8(t))
}

// Flags of a probe.
const (
	// FlagReply marks a CONNECT that answers another one and wants no answer.
	FlagReply = 1 << 0
	// FlagRelayed marks a PING or PONG that went by relay, to time the relay path.
	FlagRelayed = 1 << 1
	// FlagSeek marks a CONNECT that begins a search: "open your sockets, I am
	// about to look for them". Samples are the ports at which the sender's own
	// will be, if it opens some too, as with FlagReady.
	FlagSeek = 1 << 2
	// FlagReady marks a CONNECT that answers FlagSeek: "they are open". Samples
	// are their ports behind a NAT that preserves them; behind a sequential one,
	// the ports it gave right before them and right after.
	FlagReady = 1 << 3
	// FlagData marks a PING over a direct path: "WireGuard packets of mine have gone
	// this way since the last such PING". It is of PINGs what FlagReady is of CONNECTs.
	FlagData = 1 << 3
	// FlagDetour marks a PING or PONG that measures one of several relays. The
	// answer takes the same relay back.
	FlagDetour = 1 << 4
	// FlagSize marks a PING that measures how large a datagram its way carries. It
	// says nothing of other ways.
	FlagSize = 1 << 5
	// FlagTrial marks a relayed PING: "none of your WireGuard packets came straight,
	// send both ways for a while, and so do I".
	FlagTrial = 1 << 6
	// FlagMute marks another one: "they came by relay, and still none straight".
	FlagMute = 1 << 7
)

// Message is an opened probe. Boot and Seq together let the receiver refuse
// replays: Boot is random for each start of the sender, Seq counts up within it.
type Message struct {
	Type       ProbeType
	Flags      uint8
	Size       uint16 // size on the wire in bytes; a Pong tells its Ping's
	Boot       uint64
	Seq        uint64
	TxID       uint64
	Sent       uint64         // sender's own clock, opaque to everyone else
	Generation uint32         // generation of the sender's candidates
	Observed   netip.AddrPort // Pong: where its Ping came from

	// Connect only.
	NAT        NAT
	Candidates []Candidate
	Samples    []uint16 // external ports the NAT gave lately or will give, oldest first; see FlagReady
}

// Tag is the part of a probe by which a receiver finds the sender.
type Tag [tagSize]byte

// Pair seals and opens the probes between this agent and one peer. It is safe
// for concurrent use.
type Pair struct {
	seal, open cipher.AEAD // one key a direction, so that what is reflected opens for nobody
	tagKey     []byte
	self, peer [32]byte
}

// ErrProbe is returned for a datagram that is no probe of this pair. There is
// nothing more to say about it: it is dropped.
var ErrProbe = errors.New("not a probe of this peer")

// NewPair derives the keys of a pair from this agent's WireGuard private key
// and the peer's public one. It fails for a peer key of low order.
func NewPair(private, peer [32]byte) (*Pair, error) {
	priv, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		return nil, fmt.Errorf("derive probe keys: %w", err)
	}
	pub, err := ecdh.X25519().NewPublicKey(peer[:])
	if err != nil {
		return nil, fmt.Errorf("derive probe keys: %w", err)
	}
	shared, err := priv.ECDH(pub)
	if err != nil {
		return nil, fmt.Errorf("derive probe keys: %w", err)
	}
	p := &Pair{self: [32]byte(priv.PublicKey().Bytes()), peer: peer}
	if err := p.derive(shared); err != nil {
		return nil, err
	}
	return p, nil
}

// derive expands the shared secret into three keys: for what the end with the
// lower public key seals, for what the other end seals, and for tags.
func (p *Pair) derive(shared []byte) error {
	low, high := p.self, p.peer
	if bytes.Compare(low[:], high[:]) > 0 {
		low, high = high, low
	}
	okm, err := hkdf.Key(sha256.New, shared, nil, "meshd probe v1"+string(low[:])+string(high[:]), 3*32)
	if err != nil {
		return fmt.Errorf("derive probe keys: %w", err)
	}
	sealKey, openKey := okm[:32], okm[32:64]
	if p.self != low {
		sealKey, openKey = openKey, sealKey
	}
	p.tagKey = okm[64:]
	if p.seal, err = chacha20poly1305.NewX(sealKey); err == nil {
		p.open, err = chacha20poly1305.NewX(openKey)
	}
	if err != nil {
		return fmt.Errorf("derive probe keys: %w", err)
	}
	return nil
}

// SendTag is the tag of probes from this agent in the given hour (Unix time / 3600).
func (p *Pair) SendTag(hour uint32) Tag { return p.tag(hour, p.self) }

// ReceiveTag is the tag of probes from the peer in the given hour. A receiver
// accepts the previous, the current and the next one.
func (p *Pair) ReceiveTag(hour uint32) Tag { return p.tag(hour, p.peer) }

func (p *Pair) tag(hour uint32, sender [32]byte) Tag {
	mac := hmac.New(sha256.New, p.tagKey)
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], hour)
	mac.Write(b[:])
	mac.Write(sender[:])
	return Tag(mac.Sum(nil)[:tagSize])
}

// TagOf returns the tag of a datagram whose [KindOf] is Probe.
func TagOf(b []byte) Tag { return Tag(b[4 : 4+tagSize]) }

// Seal appends m, sealed, to dst. A PING is padded to m.Size when that is above
// ProbeSize. It fails only for lists that are too long.
func (p *Pair) Seal(dst []byte, tag Tag, m *Message) ([]byte, error) {
	if len(m.Candidates) > MaxCandidates || len(m.Samples) > MaxSamples {
		return dst, fmt.Errorf("seal connect: %d candidates and %d samples, at most %d and %d", len(m.Candidates), len(m.Samples), MaxCandidates, MaxSamples)
	}
	start := len(dst)
	room := ProbeSize
	if m.Type == Connect {
		room = MaxConnectSize
	}
	dst = slices.Grow(dst, room)
	dst = binary.BigEndian.AppendUint32(dst, magicProbe)
	dst = append(dst, tag[:]...)
	aad := dst[start:]
	var nonce [chacha20poly1305.NonceSizeX]byte
	rand.Read(nonce[:])
	dst = append(dst, nonce[:]...)
	head := len(dst)
	dst = appendBody(dst, m)
	return p.seal.Seal(dst[:head], nonce[:], dst[head:], aad), nil
}

func appendBody(b []byte, m *Message) []byte {
	start := len(b)
	b = append(b, byte(m.Type), m.Flags)
	b = binary.BigEndian.AppendUint16(b, m.Size)
	b = binary.BigEndian.AppendUint64(b, m.Boot)
	b = binary.BigEndian.AppendUint64(b, m.Seq)
	b = binary.BigEndian.AppendUint64(b, m.TxID)
	b = binary.BigEndian.AppendUint64(b, m.Sent)
	b = binary.BigEndian.AppendUint32(b, m.Generation)
	b = appendAddr(b, m.Observed)
	size := ProbeSize
	switch {
	case m.Type == Connect:
		b = appendConnect(b, m)
		size = (len(b) - start + probeOverhead + connectAlign - 1) / connectAlign * connectAlign
	case m.Type == Ping:
		size = max(ProbeSize, int(m.Size))
	}
	return append(b, make([]byte, size-probeOverhead-(len(b)-start))...)
}

func appendConnect(b []byte, m *Message) []byte {
	b = append(b, byte(m.NAT.Mapping), byte(m.NAT.Filtering), byte(m.NAT.Allocation))
	b = binary.BigEndian.AppendUint16(b, uint16(m.NAT.Delta))
	b = binary.BigEndian.AppendUint16(b, m.NAT.Low)
	b = binary.BigEndian.AppendUint16(b, m.NAT.High)
	b = append(b, byte(len(m.Candidates)))
	for _, c := range m.Candidates {
		b = appendAddr(append(b, byte(c.Kind)), c.Addr)
	}
	b = append(b, byte(len(m.Samples)))
	for _, s := range m.Samples {
		b = binary.BigEndian.AppendUint16(b, s)
	}
	return b
}

// OpenProbe opens a datagram whose [KindOf] is Probe and whose tag is one of the
// peer's. Any fault is ErrProbe. Bytes after what this version knows are
// ignored, so that later versions may add to a message.
func (p *Pair) OpenProbe(b []byte) (*Message, error) {
	if KindOf(b) != Probe {
		return nil, ErrProbe
	}
	nonce := b[4+tagSize : 4+tagSize+chacha20poly1305.NonceSizeX]
	body, err := p.open.Open(nil, nonce, b[4+tagSize+chacha20poly1305.NonceSizeX:], b[:4+tagSize])
	if err != nil {
		return nil, ErrProbe
	}
	return parseBody(body)
}

func parseBody(b []byte) (*Message, error) {
	if len(b) < bodySize {
		return nil, ErrProbe
	}
	m := &Message{
		Type:       ProbeType(b[0]),
		Flags:      b[1],
		Size:       binary.BigEndian.Uint16(b[2:]),
		Boot:       binary.BigEndian.Uint64(b[4:]),
		Seq:        binary.BigEndian.Uint64(b[12:]),
		TxID:       binary.BigEndian.Uint64(b[20:]),
		Sent:       binary.BigEndian.Uint64(b[28:]),
		Generation: binary.BigEndian.Uint32(b[36:]),
		Observed:   readAddr(b[40:]),
	}
	if m.Type != Connect {
		return m, nil
	}
	return m, parseConnect(m, b[bodySize:])
}

// parseConnect leaves candidates out that nobody can send to.
func parseConnect(m *Message, b []byte) error {
	if len(b) < natSize+1 {
		return ErrProbe
	}
	m.NAT = parseNAT(b)
	n := int(b[natSize])
	b = b[natSize+1:]
	if n > MaxCandidates || len(b) < n*(1+addrSize)+1 {
		return ErrProbe
	}
	for range n {
		if c := (Candidate{Kind: CandidateKind(b[0]), Addr: readAddr(b[1:])}); c.usable() {
			m.Candidates = append(m.Candidates, c)
		}
		b = b[1+addrSize:]
	}
	n = int(b[0])
	b = b[1:]
	if n > MaxSamples || len(b) < 2*n {
		return ErrProbe
	}
	for i := range n {
		m.Samples = append(m.Samples, binary.BigEndian.Uint16(b[2*i:]))
	}
	return nil
}

// parseNAT reads a NAT. What this version has no name for is unknown to it.
func parseNAT(b []byte) NAT {
	n := NAT{
		Mapping:    Behaviour(b[0]),
		Filtering:  Behaviour(b[1]),
		Allocation: Allocation(b[2]),
		Delta:      int16(binary.BigEndian.Uint16(b[3:])),
		Low:        binary.BigEndian.Uint16(b[5:]),
		High:       binary.BigEndian.Uint16(b[7:]),
	}
	if n.Mapping > AddressPortDependent {
		n.Mapping = UnknownBehaviour
	}
	if n.Filtering > AddressPortDependent {
		n.Filtering = UnknownBehaviour
	}
	if n.Allocation > Random {
		n.Allocation = UnknownAllocation
	}
	if n.Low > n.High {
		n.Low, n.High = 0, 0
	}
	return n
}
