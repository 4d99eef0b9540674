package relay

import (
	"sync/atomic"
	"testing"
	"time"

	"meshd/punch/wire"
)

// payload is the size of a WireGuard packet.
const payload = 1240

// BenchmarkRelayUDP sends datagrams through a relay on the loopback, in bundles
// of 32 and one by one. Sender and receiver share the processors with it: what
// counts is the ratio.
func BenchmarkRelayUDP(b *testing.B) {
	b.Run("bundles", func(b *testing.B) { benchUDP(b, 32) })
	b.Run("single", func(b *testing.B) { benchUDP(b, 1) })
}

func benchUDP(b *testing.B, bundle int) {
	s, _ := startServer(b, nil)
	from, to := newUDPEnd(b, alice), newUDPEnd(b, bob)
	from.bind(b, s.Addrs()[0])
	to.bind(b, s.Addrs()[0])
	bufs := make([][]byte, bundle)
	for i := range bufs {
		bufs[i] = data(from.client.Epoch(), alice^bob, string(make([]byte, payload)))
	}
	k := newSink(512)
	to.counter.Store(k)
	k.run(b, func() int {
		if err := from.conn.Write(bufs, s.Addrs()[0]); err != nil {
			b.Fatal(err)
		}
		return bundle
	})
}

// BenchmarkRelayWebSocket sends the same from one WebSocket to another.
func BenchmarkRelayWebSocket(b *testing.B) {
	s, url := startServer(b, nil)
	from, to := dialEnd(b, url(alice)), dialEnd(b, url(bob))
	await(b, "both connected", func() bool { return s.Stats().WebSockets == 2 })
	k := newSink(dataSlots)
	go func() {
		for {
			if _, err := to.conn.Read(); err != nil {
				return
			}
			k.count(1)
		}
	}()
	datagram := data(0, alice^bob, string(make([]byte, payload)))
	k.run(b, func() int { from.send(b, datagram); return 1 })
}

// sink counts what arrives, so that the sender can keep a window.
type sink struct {
	window   int64
	got      atomic.Int64
	progress chan struct{} // one token: got has grown
}

func newSink(window int64) *sink { return &sink{window: window, progress: make(chan struct{}, 1)} }

func (k *sink) count(n int) {
	k.got.Add(int64(n))
	select {
	case k.progress <- struct{}{}:
	default:
	}
}

// run sends b.N datagrams.
func (k *sink) run(b *testing.B, send func() int) {
	b.SetBytes(payload + 4 + wire.HeaderSize)
	b.ResetTimer()
	var sent, lost int64
	for sent < int64(b.N) {
		sent += int64(send())
		for sent-lost-k.got.Load() > k.window {
			select {
			case <-k.progress:
			case <-time.After(100 * time.Millisecond):
				lost = sent - k.got.Load()
			}
		}
	}
	b.ReportMetric(100*float64(lost)/float64(sent), "%lost")
}
