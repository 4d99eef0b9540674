package tunnel

import (
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/tun"
)

// What may be inside of wireguard-go at a time, in either direction: between
// reading the TUN and sending, and between receiving and writing the TUN. Its own
// queues hold thousands of packets of 64 KiB, which are memory that falls out of
// every cache and delay that helps nobody.
const (
	paceWindow  = 256                  // packets
	paceBatch   = 128                  // at most come with one read
	paceTimeout = 2 * time.Millisecond // without progress: what is missing was dropped
)

// quota counts the packets of one direction.
type quota struct {
	inside atomic.Int64
	left   chan struct{} // ticks when some have left
}

func newQuota() *quota { return &quota{left: make(chan struct{}, 1)} }

func (w *quota) open() bool { return w.inside.Load() <= paceWindow-paceBatch }

// await returns when there is room for a batch. The device drops packets without
// a word and makes some of its own, so when nothing moves the count starts anew.
func (w *quota) await() {
	if w.open() {
		return
	}
	timer := time.NewTimer(paceTimeout)
	defer timer.Stop()
	for !w.open() {
		select {
		case <-w.left:
			timer.Reset(paceTimeout)
		case <-timer.C:
			w.inside.Store(0)
		}
	}
}

func (w *quota) enter(n int) { w.inside.Add(int64(n)) }

// leave never counts below zero for long: handshakes leave that never entered.
func (w *quota) leave(n int) {
	if w.inside.Add(-int64(n)) < 0 {
		w.inside.Store(0)
	}
	select {
	case w.left <- struct{}{}:
	default:
	}
}

// pace bounds what is between a TUN and a transport when wireguard-go is given
// what it returns.
func pace(dev tun.Device, t Transport) (tun.Device, Transport) {
	out, in := newQuota(), newQuota()
	return pacedTUN{dev, out, in}, pacedTransport{t, out, in}
}

type pacedTUN struct {
	tun.Device
	out, in *quota
}

func (t pacedTUN) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	t.out.await()
	n, err := t.Device.Read(bufs, sizes, offset)
	t.out.enter(n)
	return n, err
}

func (t pacedTUN) Write(bufs [][]byte, offset int) (int, error) {
	n, err := t.Device.Write(bufs, offset)
	t.in.leave(len(bufs))
	return n, err
}

type pacedTransport struct {
	Transport
	out, in *quota
}

func (t pacedTransport) Send(peer Key, bufs [][]byte) error {
	err := t.Transport.Send(peer, bufs)
	t.out.leave(len(bufs))
	return err
}

func (t pacedTransport) Receivers() []func(bufs [][]byte, sizes []int, peers []Key) (int, error) {
	fns := t.Transport.Receivers()
	for i, receive := range fns {
		fns[i] = func(bufs [][]byte, sizes []int, peers []Key) (int, error) {
			t.in.await()
			n, err := receive(bufs, sizes, peers)
			t.in.enter(n)
			return n, err
		}
	}
	return fns
}
