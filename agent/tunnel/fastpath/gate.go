package fastpath

import (
	"net"
	"os"

	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// Queues towards the device. What does not fit is dropped, as the device itself
// would: handshakes are repeated, and of packets that wait for one it keeps only
// the latest few.
const (
	handshakeQueue = 256
	stageQueue     = 256
)

// gateBatch is how many packets the device takes from the gate at a time, and how
// many handshakes. It holds a buffer of 64 KiB for each, and little comes this way.
const gateBatch = 1

// gate is the TUN as the device sees it: only packets come out that have no
// session yet. Nothing of the device's ever goes in, as it opens none.
type gate struct {
	TUN
	path *Path
}

var _ tun.Device = (*gate)(nil)

// Read waits for packets that need a handshake first. It ends when the fast path
// has, and not before: the device's queues must stay open for that long.
func (g *gate) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	if packet, ok := <-g.path.staged; ok {
		sizes[0] = copy(bufs[0][offset:], packet)
		g.path.recycle(packet)
		return 1, nil
	}
	if g.path.err != nil {
		return 0, g.path.err
	}
	return 0, os.ErrClosed
}

func (g *gate) BatchSize() int { return gateBatch }

// stage hands a packet to the device, which asks for a session with its peer and
// sends it then.
func (p *Path) stage(packet []byte) {
	if len(p.staged) == cap(p.staged) {
		return // only the outbound goroutine fills it
	}
	var b []byte
	select {
	case b = <-p.spares:
	default:
	}
	p.staged <- append(b[:0], packet...)
}

func (p *Path) recycle(b []byte) {
	select {
	case p.spares <- b:
	default:
	}
}

// handshake is a message for the device.
type handshake struct {
	data [device.MessageInitiationSize]byte // the longest there is
	size int
	from Key
}

// divert hands a handshake message to the device.
func (p *Path) divert(b []byte, from Key) {
	h := handshake{size: len(b), from: from}
	copy(h.data[:], b)
	select {
	case p.handshakes <- h:
	default:
	}
}

// Receivers, Send, BatchSize and Close are the transport as the device sees it:
// only handshakes and cookies come in.

// Receivers returns one function that waits for a handshake message.
func (p *Path) Receivers() []func(bufs [][]byte, sizes []int, peers []Key) (int, error) {
	return []func([][]byte, []int, []Key) (int, error){func(bufs [][]byte, sizes []int, peers []Key) (int, error) {
		select {
		case h := <-p.handshakes:
			sizes[0], peers[0] = copy(bufs[0], h.data[:h.size]), h.from
			return 1, nil
		case <-p.closed:
			return 0, net.ErrClosed
		}
	}}
}

// Send passes to the transport what the device made.
func (p *Path) Send(peer Key, bufs [][]byte) error { return p.transport.Send(peer, bufs) }

// BatchSize is the device's. It has buffers of 64 KiB for that many packets a
// receiver, and handshakes are few.
func (p *Path) BatchSize() int { return gateBatch }

// Close closes the transport. It is idempotent.
func (p *Path) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.transport.Close()
}
