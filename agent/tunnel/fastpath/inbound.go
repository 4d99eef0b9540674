package fastpath

import (
	"encoding/binary"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.zx2c4.com/wireguard/device"
)

// lentBatch is how many packets a source is asked for at a time: four bundles.
const lentBatch = 256

// writer is what packets go to the TUN with.
type writer interface {
	Add(packet []byte) error // which stays as it is until Flush
	Flush() error
}

// inbound opens what one source lends and writes it to the TUN. It is for one
// goroutine.
type inbound struct {
	path     *Path
	sessions *sessions
	tun      writer
	nonce    [chacha20poly1305.NonceSize]byte
	burst    // of packets of the same session
}

// burst is what came of a session, one packet after the other.
type burst struct {
	*session        // nil: not known, or too old
	index    uint32 // of the packets
	begun    bool   // there is such a burst
	valid    bool   // one of them was authentic and new
	data     bool   // and more than a keepalive
	bytes    int
	packets  int
	source   address // the last one that was allowed
}

func newInbound(p *Path, all *sessions, w writer) *inbound {
	return &inbound{path: p, sessions: all, tun: w}
}

// take handles one batch. Packets are overwritten.
func (in *inbound) take(packets [][]byte, peers []Key) {
	now := in.path.now()
	for i, b := range packets {
		switch kindOf(b) {
		case transportPacket:
			in.transport(b, now)
		case handshakePacket:
			in.path.divert(b, peers[i])
		}
	}
	in.settle()
	// The TUN refuses packets while it is down. They are lost, as with any link.
	_ = in.tun.Flush()
}

// transport opens a packet, which is at least a keepalive long.
func (in *inbound) transport(b []byte, now time.Time) {
	if index := binary.LittleEndian.Uint32(b[4:]); !in.begun || index != in.index {
		in.settle()
		in.begin(index, now)
	}
	if in.session == nil {
		return
	}
	counter := b[device.MessageTransportOffsetCounter:device.MessageTransportOffsetContent]
	content := b[device.MessageTransportOffsetContent:]
	copy(in.nonce[4:], counter)
	plain, err := in.opener.Open(content[:0], in.nonce[:], content, nil)
	if err != nil || !in.fresh(binary.LittleEndian.Uint64(counter)) {
		return
	}
	if !in.valid {
		in.valid = true
		in.confirm()
	}
	in.bytes += len(b)
	in.packets++
	if len(plain) == 0 {
		return
	}
	in.data = true
	if packet, source := trim(plain); packet != nil && in.allowed(source) && in.path.filter.Admits(packet) {
		_ = in.tun.Add(packet)
	}
}

// begin looks an index up: for each batch anew, for the device may have dropped
// its keypair since.
func (in *inbound) begin(index uint32, now time.Time) {
	in.burst = burst{begun: true, index: index, session: in.sessions.find(index)}
	if in.session != nil && now.Sub(in.session.created) > device.RejectAfterTime {
		in.session = nil
	}
}

// confirm is called for the first valid packet of a burst. It shows that the other
// side has the keypair: one that was next becomes current.
func (in *inbound) confirm() {
	if in.peer.ReceivedWithKeypair(in.keypair) {
		timersHandshakeComplete(in.peer)
		in.peer.SendStagedPackets()
	}
}

// allowed reports whether the peer may send from an address.
func (in *inbound) allowed(source []byte) bool {
	if in.source.is(source) {
		return true
	}
	if in.sessions.from.owner(source) != in.peer {
		return false
	}
	in.source.set(source)
	return true
}

// settle ends a burst, and tells the peer of it.
func (in *inbound) settle() {
	if in.valid {
		p := in.peer
		in.sessions.from.received(p).Add(uint64(in.bytes))
		in.path.opened.Add(uint64(in.packets))
		keepKeyFreshReceiving(p)
		timersAnyAuthenticatedPacketTraversal(p)
		timersAnyAuthenticatedPacketReceived(p)
		if in.data {
			timersDataReceived(p)
		}
	}
	in.burst = burst{}
}
