package fastpath

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sync/errgroup"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"meshd/agent/tunnel/filter"
	"meshd/agent/tunnel/vnet"
)

// Key is a peer's public WireGuard key.
type Key = [32]byte

// TUN is a TUN device that passes superpackets.
type TUN interface {
	tun.Device

	// ReadFrames waits for a frame (virtio header and IP packet) and returns with
	// as many as are there. They are good until the next call.
	ReadFrames(frames [][]byte) (int, error)

	// NewWriter returns what one goroutine writes packets with.
	NewWriter() *vnet.Coalescer
}

// Transport carries packets to peers and back.
type Transport interface {
	// Views returns one function per source of packets, each for one goroutine. It
	// blocks for the first packet, and lends packets that are good until its next
	// call and may be written over. A zero key is a sender not known by its address.
	// After Close: net.ErrClosed.
	Views() []func(packets [][]byte, peers []Key) (int, error)

	// Send sends bufs to a peer. It never blocks for long and keeps no reference.
	Send(peer Key, bufs [][]byte) error

	// Close unblocks the views. It is idempotent.
	Close() error
}

// Path is the fast path of one device. To the device it is a TUN (see
// [Path.TUN]) and a transport.
type Path struct {
	tun       TUN
	transport Transport
	filter    *filter.Filter
	layout    layout
	now       func() time.Time // time.Now, but for tests

	staged     chan []byte // from outbound to the device; closed when Run ends
	spares     chan []byte // buffers of packets that were staged
	handshakes chan handshake
	closed     chan struct{} // by Close
	once       sync.Once
	err        error // why outbound ended; set before staged is closed

	sealed, opened atomic.Uint64
}

// Packets is how many transport packets were sealed and sent here, and opened.
func (p *Path) Packets() (sealed, opened uint64) { return p.sealed.Load(), p.opened.Load() }

// Counters is what the device has counted of a peer: bytes received and sent, and
// when the last handshake was; zero: there was none.
func (p *Path) Counters(peer *device.Peer) (rx, tx uint64, handshake time.Time) {
	from := borrowed{layout: p.layout}
	nano := (*atomic.Int64)(unsafe.Add(unsafe.Pointer(peer), p.layout.lastHandshake)).Load()
	if nano != 0 {
		handshake = time.Unix(0, nano)
	}
	return from.received(peer).Load(), from.sent(peer).Load(), handshake
}

// New makes a path between t and transport, on which f says what may come in. It
// fails when the module that it was built with does not look as expected: then the
// device must do all by itself.
func New(t TUN, transport Transport, f *filter.Filter) (*Path, error) {
	l, err := readLayout()
	if err != nil {
		return nil, fmt.Errorf("wireguard-go is another one than expected: %v", err)
	}
	return &Path{
		tun: t, transport: transport, filter: f, layout: l, now: time.Now,
		staged: make(chan []byte, stageQueue), spares: make(chan []byte, stageQueue),
		handshakes: make(chan handshake, handshakeQueue), closed: make(chan struct{}),
	}, nil
}

// TUN is what the device must be made with.
func (p *Path) TUN() tun.Device { return &gate{p.tun, p} }

// Run moves packets until both the TUN and the transport are closed, which the
// device's Close does. The device must be made with the path's TUN and with p as
// its transport. A TUN that fails closes the transport, and then the device closes
// itself.
func (p *Path) Run(d *device.Device) {
	from := &borrowed{p.layout, d}
	all := &sessions{from: from, all: make(map[uint32]*session)}
	var g errgroup.Group
	for _, view := range p.transport.Views() {
		in := newInbound(p, all, p.tun.NewWriter())
		g.Go(func() error { in.loop(view); return nil })
	}
	ended := make(chan struct{})
	g.Go(func() error { all.sweepUntil(ended); return nil })
	err := newOutbound(p, from).run()
	if !errors.Is(err, os.ErrClosed) {
		p.err = err
	}
	close(ended)
	p.transport.Close()
	g.Wait()
	close(p.staged)
}

// sweepUntil lets go of old keys now and then.
func (ss *sessions) sweepUntil(end <-chan struct{}) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			ss.sweep()
		case <-end:
			return
		}
	}
}

// yieldAfter is for how many packets a source may go on without a wait before
// others get a turn: its system calls keep the processor, and with one processor
// to run on nobody else would have it.
const yieldAfter = 256

// Errors of a source other than its end are met with patience, as they may pass.
const (
	maxFaults  = 10
	faultPause = 300 * time.Millisecond
)

// loop moves packets from a source to the TUN until the source is closed.
func (in *inbound) loop(view func(packets [][]byte, peers []Key) (int, error)) {
	packets, peers := make([][]byte, lentBatch), make([]Key, lentBatch)
	turn := 0
	for faults := 0; faults < maxFaults; {
		n, err := view(packets, peers)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			faults++
			select {
			case <-in.path.closed:
			case <-time.After(faultPause):
			}
			continue
		}
		faults = 0
		in.take(packets[:n], peers)
		if turn += n; turn >= yieldAfter {
			turn = 0
			runtime.Gosched()
		}
	}
}
