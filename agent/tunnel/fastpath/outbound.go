package fastpath

import (
	"crypto/cipher"
	"encoding/binary"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.zx2c4.com/wireguard/device"

	"meshd/agent/tunnel/vnet"
)

const (
	// frameBatch is how many superpackets are read at a time, at most.
	frameBatch = 64
	// arenaSize holds what is sent at once: a superpacket of 64 KiB with what
	// WireGuard adds to its segments, and room to spare, in the processor's cache.
	arenaSize = 128 << 10
	// sendBatch is how many packets are sent at once, at most: two bundles.
	sendBatch = 128
	// overhead is the most that WireGuard adds to a packet, padding included.
	overhead = device.MessageTransportHeaderSize + chacha20poly1305.Overhead + device.PaddingMultiple
)

// outbound seals what the TUN gives and sends it. It is for one goroutine.
type outbound struct {
	path     *Path
	from     *borrowed
	segments vnet.Segments
	nonce    [chacha20poly1305.NonceSize]byte

	arena []byte   // what is sealed and not yet sent: arena[:used]
	used  int      //
	bufs  [][]byte // the same by packets

	peer   *device.Peer // whose these are; nil: nobody's
	target address      // one of its addresses; none: look the next one up
	keypair
}

// keypair is what packets are sealed with.
type keypair struct {
	*device.Keypair // nil: none, the device must make one
	sealer          cipher.AEAD
	remote          uint32
	mtu             int
}

func newOutbound(p *Path, from *borrowed) *outbound {
	return &outbound{path: p, from: from, arena: make([]byte, arenaSize), bufs: make([][]byte, 0, sendBatch)}
}

// run moves packets from the TUN to the transport until the TUN fails or is
// closed, and returns its error.
func (out *outbound) run() error {
	frames := make([][]byte, frameBatch)
	for {
		n, err := out.path.tun.ReadFrames(frames)
		out.take(frames[:n])
		if err != nil {
			return err
		}
	}
}

// take sends one batch of frames.
func (out *outbound) take(frames [][]byte) {
	now := out.path.now()
	for _, f := range frames {
		if out.segments.Reset(f) == nil {
			out.frame(now)
		}
	}
	out.flush()
	out.peer, out.target, out.keypair = nil, address{}, keypair{}
}

// frame sends the segments of one frame, which all have the same addresses.
func (out *outbound) frame(now time.Time) {
	packet, ok := out.segments.Next()
	if !ok || !out.route(packet, now) {
		return
	}
	out.path.filter.Sent(packet) // and the others, whose headers are as good as the same
	for ; ok; packet, ok = out.segments.Next() {
		if out.Keypair == nil || !out.seal(packet) {
			out.path.stage(packet)
		}
	}
}

// route finds the peer that a packet is for, and reports whether there is one. A
// change of peer sends what there is for the one before.
func (out *outbound) route(packet []byte, now time.Time) bool {
	ip := target(packet)
	if ip == nil {
		return false
	}
	if out.target.is(ip) {
		return true
	}
	peer := out.from.owner(ip)
	if peer == nil {
		return false
	}
	if peer != out.peer {
		out.flush()
		out.peer = peer
		out.keypair = out.usable(peer, now)
	}
	out.target.set(ip)
	return true
}

// usable is the keypair that the peer's packets are to be sealed with now.
func (out *outbound) usable(peer *device.Peer, now time.Time) keypair {
	k := out.from.current(peer)
	if k == nil || out.from.nonce(k).Load() >= device.RejectAfterMessages || now.Sub(out.from.birth(k)) >= device.RejectAfterTime {
		return keypair{}
	}
	return keypair{k, out.from.sealer(k), out.from.remoteIndex(k), out.from.interfaceMTU()}
}

// seal appends a transport message to the arena. It fails when the keypair has no
// nonce left.
func (out *outbound) seal(packet []byte) bool {
	if len(out.bufs) == sendBatch || len(out.arena)-out.used < len(packet)+overhead {
		out.flush()
	}
	counter := out.from.nonce(out.Keypair)
	n := counter.Add(1) - 1
	if n >= device.RejectAfterMessages {
		counter.Store(device.RejectAfterMessages)
		return false
	}
	b := out.arena[out.used:]
	binary.LittleEndian.PutUint32(b, device.MessageTransportType)
	binary.LittleEndian.PutUint32(b[4:], out.remote)
	binary.LittleEndian.PutUint64(b[8:], n)
	binary.LittleEndian.PutUint64(out.nonce[4:], n)
	content := b[device.MessageTransportHeaderSize:]
	if pad := padding(len(packet), out.mtu); pad > 0 {
		// Not where it lies: there the next segment begins.
		end := copy(content, packet)
		clear(content[end : end+pad])
		packet = content[:end+pad]
	}
	sealed := out.sealer.Seal(content[:0], out.nonce[:], packet, nil)
	end := device.MessageTransportHeaderSize + len(sealed)
	out.bufs = append(out.bufs, b[:end:end])
	out.used += end
	return true
}

// flush sends what is sealed, and tells the peer of it.
func (out *outbound) flush() {
	if len(out.bufs) == 0 {
		return
	}
	p := out.peer
	timersAnyAuthenticatedPacketTraversal(p)
	timersAnyAuthenticatedPacketSent(p)
	err := out.path.transport.Send(*out.from.key(p), out.bufs)
	timersDataSent(p)
	if err == nil {
		out.from.sent(p).Add(uint64(out.used))
		out.path.sealed.Add(uint64(len(out.bufs)))
		keepKeyFreshSending(p)
	}
	out.bufs, out.used = out.bufs[:0], 0
}
