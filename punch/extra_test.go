package punch

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// startEngine runs an engine with real sockets, and one peer that is never there.
func startEngine(t testing.TB) (e *Engine, stop func()) {
	e, err := New(Config{PrivateKey: [32]byte{1}, PrePunch: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	e.SetPeers([]Peer{{Key: Key{9}, Name: "peer"}})
	await(t, func() bool { return len(e.Status().Peers) == 1 })
	return e, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func await(t testing.TB, cond func() bool) {
	t.Helper()
	for start := time.Now(); !cond(); runtime.Gosched() {
		if time.Since(start) > 5*time.Second {
			t.Fatal("not after 5 s")
		}
	}
}

// openExtra opens sockets for the peer, and returns the ports of those it got.
func openExtra(e *Engine, n int, uncommon bool) (ev opened) {
	e.ask(context.Background(), func(l *loop) { ev = l.extras.open(l.members.all[Key{9}], n, uncommon) })
	return ev
}

func TestExtraSockets(t *testing.T) {
	before := runtime.NumGoroutine()
	e, stop := startEngine(t)
	idle := descriptors(t)
	ev := openExtra(e, maxBirthdaySockets, false)
	if len(ev.sockets) != maxBirthdaySockets || len(ev.ports) != maxBirthdaySockets {
		t.Fatalf("%d sockets, want %d", len(ev.sockets), maxBirthdaySockets)
	}
	if n := len(openExtra(e, 2*maxExtras, false).sockets); n != maxExtras-maxBirthdaySockets {
		t.Errorf("%d more sockets, want %d: %d are the limit", n, maxExtras-maxBirthdaySockets, maxExtras)
	}
	e.SetPeers(nil)
	await(t, func() bool { return len(e.Status().Peers) == 0 })
	if got := descriptors(t); got > idle {
		t.Errorf("%d descriptors are open after the peer was removed, want %d", got, idle)
	}
	e.SetPeers([]Peer{{Key: Key{9}, Name: "peer"}})
	await(t, func() bool { return len(e.Status().Peers) == 1 })
	for _, port := range openExtra(e, 4, true).ports {
		if port < uncommonLow || port > uncommonHigh {
			t.Errorf("port %d is none of %d–%d", port, uncommonLow, uncommonHigh)
		}
	}
	stop()
	await(t, func() bool { return runtime.NumGoroutine() <= before })
	if got := descriptors(t); got >= idle && idle > 0 {
		t.Errorf("%d descriptors are open after the end, %d before", got, idle)
	}
}

// BenchmarkExtra moves packets through a socket that was opened for one peer.
func BenchmarkExtra(b *testing.B) {
	e, stop := startEngine(b)
	defer stop()
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), openExtra(e, 1, false).ports[0])
	s, err := listenUDP(0)(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	go func() {
		bufs := make([][]byte, 32)
		for i := range bufs {
			bufs[i] = append(packet(0, false), make([]byte, 1184)...)
		}
		for s.Write(bufs, to) == nil {
		}
	}()
	receive := e.Receivers()[0]
	bufs, sizes, peers := make([][]byte, 128), make([]int, 128), make([]Key, 128)
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
	}
	b.SetBytes(1280)
	b.ReportAllocs()
	for n := 0; n < b.N; {
		got, err := receive(bufs, sizes, peers)
		if errors.Is(err, net.ErrClosed) {
			b.Fatal(err)
		}
		n += got
	}
}
