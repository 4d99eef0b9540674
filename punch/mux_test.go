package punch

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"meshd/punch/wire"
)

// lazySocket reads the same batch again and again, and forgets what is written.
type lazySocket struct {
	batch  [][]byte
	from   []netip.AddrPort
	writes int
	fail   error
}

func (s *lazySocket) LocalAddr() netip.AddrPort { return netip.MustParseAddrPort("0.0.0.0:1") }
func (s *lazySocket) BatchSize() int            { return 8 }
func (s *lazySocket) Close() error              { return nil }
func (s *lazySocket) Read(bufs [][]byte, sizes []int, from []netip.AddrPort) (int, error) {
	for i, b := range s.batch {
		sizes[i] = copy(bufs[i], b)
		from[i] = s.from[i]
	}
	return len(s.batch), nil
}
func (s *lazySocket) Write([][]byte, netip.AddrPort) error               { s.writes++; return s.fail }
func (s *lazySocket) WriteHeaded([]byte, [][]byte, netip.AddrPort) error { s.writes++; return nil }
func (s *lazySocket) WriteTTL([]byte, netip.AddrPort, int) error         { s.writes++; return nil }

var (
	relayAddr = netip.MustParseAddrPort("203.0.113.1:3478")
	bobAddr   = netip.MustParseAddrPort("198.18.0.2:41641")
	someAddr  = netip.MustParseAddrPort("198.18.0.9:9")
	bobKey    = Key{2}
)

// testMux is 1 and has one peer, bob: by relay with id 7, and direct from bobAddr.
func testMux(s *lazySocket) (*mux, *flow) {
	m := newMux([]Socket{s, nil})
	f := &flow{key: bobKey}
	f.way.Store(&way{direct: s, addr: bobAddr, relay: &relayLeg{socket: s, addr: relayAddr}})
	f.awake.Store(true)
	m.table.Store(&table{
		flows: map[Key]*flow{bobKey: f},
		ids:   map[wire.RelayID]*flow{7: f},
		addrs: map[netip.AddrPort]*flow{bobAddr: f},
		relay: relayAddr, self: 1,
	})
	return m, f
}

func relayed(id wire.RelayID, payload []byte) []byte {
	return append(wire.AppendHeader(nil, wire.Header{Type: wire.Data, ID: wire.PairID(1, id)}), payload...)
}

func TestSort(t *testing.T) {
	stun := []byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	probe := append([]byte{0xd1, 'm', 's', 'h'}, make([]byte, 124)...)
	data := packet(1, false)
	first := handshakeOf(typeInitiation)
	hello := make([]byte, wire.SessionSize)
	wire.PutHeader(hello, wire.Header{Type: wire.Welcome, ID: 1})
	tests := []struct {
		name     string
		b        []byte
		from     netip.AddrPort
		size     int
		peer     Key
		diverted bool
	}{
		{"wireguard of a peer", data, bobAddr, len(data), bobKey, false},
		{"wireguard of a stranger", data, someAddr, len(data), Key{}, false},
		{"relayed wireguard", relayed(7, data), relayAddr, len(data), bobKey, false},
		{"relayed by a stranger", relayed(7, data), someAddr, 0, Key{}, false},
		{"relayed from nobody", relayed(8, data), relayAddr, 0, Key{}, false},
		{"relayed noise", relayed(7, []byte("noise")), relayAddr, 0, Key{}, false},
		{"relayed probe", relayed(7, probe), relayAddr, 0, Key{}, true},
		{"relayed relay message", relayed(7, hello), relayAddr, 0, Key{}, false},
		{"envelope of a peer", relayed(7, first), bobAddr, 0, Key{}, true},
		{"envelope of a stranger", relayed(7, first), someAddr, 0, Key{}, true},
		{"envelope of another peer", relayed(8, first), bobAddr, 0, Key{}, false},
		{"envelope with data", relayed(7, data), bobAddr, 0, Key{}, false},
		{"relayed handshake", relayed(7, first), relayAddr, len(first), bobKey, false},
		{"relay message", hello, relayAddr, 0, Key{}, true},
		{"relay message of a stranger", hello, someAddr, 0, Key{}, false},
		{"probe", probe, someAddr, 0, Key{}, true},
		{"stun", stun, someAddr, 0, Key{}, true},
		{"noise", []byte("noise"), bobAddr, 0, Key{}, false},
		{"nothing", nil, bobAddr, 0, Key{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, _ := testMux(&lazySocket{})
			buf := make([]byte, 2048)
			sizes, peers := []int{copy(buf, tt.b)}, []Key{{9}}
			kept := m.sort(socket4, [][]byte{buf}, sizes, []netip.AddrPort{tt.from}, peers)
			if sizes[0] != tt.size || peers[0] != tt.peer || kept != (tt.size > 0) {
				t.Errorf("size %d, peer %v, kept %v; want size %d, peer %v", sizes[0], peers[0][0], kept, tt.size, tt.peer[0])
			}
			if tt.size > 0 && !bytes.HasSuffix(tt.b, buf[:tt.size]) {
				t.Error("the packet was changed")
			}
			if got := len(m.inbox) == 1; got != tt.diverted {
				t.Errorf("diverted = %v, want %v", got, tt.diverted)
			}
		})
	}
}

func TestCounters(t *testing.T) {
	m, f := testMux(&lazySocket{})
	bufs := [][]byte{packet(1, false), packet(2, false), packet(3, false), relayed(7, packet(4, false))}
	sizes := []int{96, 96, 96, 104}
	m.sort(socket4, bufs, sizes, []netip.AddrPort{bobAddr, someAddr, bobAddr, relayAddr}, make([]Key, 4))
	m.send(bobKey, [][]byte{packet(5, false), packet(6, false)})
	if got, want := f.counters(), (traffic{sent: 2, received: 2, relayed: 1, returned: 1}); got != want {
		t.Errorf("counters = %+v, want %+v", got, want)
	}
}

func TestSendFallsOver(t *testing.T) {
	s := &lazySocket{fail: net.ErrWriteToConnected}
	m, f := testMux(s)
	if err := m.send(bobKey, [][]byte{packet(1, false)}); err != nil || s.writes != 2 {
		t.Errorf("err = %v after %d writes, want a second one by relay", err, s.writes)
	}
	if !f.failed.Load() {
		t.Error("the failure was not noted")
	}
	f.way.Store(&way{direct: s, addr: bobAddr})
	if err := m.send(bobKey, [][]byte{packet(1, false)}); !errors.Is(err, s.fail) {
		t.Errorf("err = %v, want %v", err, s.fail)
	}
	f.way.Store(&way{})
	if err := m.send(bobKey, [][]byte{packet(1, false)}); err != errNoPath {
		t.Errorf("err = %v, want %v", err, errNoPath)
	}
	if err := m.send(Key{3}, [][]byte{packet(1, false)}); err != errUnknown {
		t.Errorf("err = %v, want %v", err, errUnknown)
	}
}

func TestSleepingFlowWakesLoop(t *testing.T) {
	m, f := testMux(&lazySocket{})
	f.awake.Store(false)
	for range 3 {
		m.send(bobKey, [][]byte{packet(1, false)})
	}
	if !f.awake.Load() || len(m.wake) != 1 {
		t.Errorf("awake = %v, %d nudges; want one", f.awake.Load(), len(m.wake))
	}
}

func TestPacketPathAllocatesNothing(t *testing.T) {
	s := &lazySocket{
		batch: [][]byte{packet(1, false), relayed(7, packet(2, false)), packet(3, false)},
		from:  []netip.AddrPort{bobAddr, relayAddr, someAddr},
	}
	m, _ := testMux(s)
	receive := m.receiver(socket4, s)
	bufs, sizes, peers := make([][]byte, 4), make([]int, 4), make([]Key, 4)
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
	}
	packets := [][]byte{packet(1, false), packet(2, false)}
	got := testing.AllocsPerRun(100, func() {
		receive(bufs, sizes, peers)
		m.send(bobKey, packets)
	})
	if got != 0 {
		t.Errorf("%v allocations a batch, want 0", got)
	}
}

// TestRealSockets runs an engine on the host's own sockets.
func TestRealSockets(t *testing.T) {
	e, err := New(Config{PrivateKey: [32]byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{PrivateKey: [32]byte{1}, Port: e.Port()}); err == nil {
		t.Errorf("port %d was given twice", e.Port())
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- e.Run(ctx) }()
	ends := make(chan error)
	receivers := e.Receivers()
	for _, receive := range receivers {
		go func() {
			n := e.BatchSize()
			bufs := make([][]byte, n)
			for i := range bufs {
				bufs[i] = make([]byte, 2048)
			}
			_, err := receive(bufs, make([]int, n), make([]Key, n))
			ends <- err
		}()
	}
	for e.Status().Peers == nil {
		select {
		case err := <-ran:
			t.Fatalf("Run ended: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	if err := <-ran; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	for range receivers {
		if err := <-ends; !errors.Is(err, net.ErrClosed) {
			t.Errorf("receiver ended with %v, want %v", err, net.ErrClosed)
		}
	}
	if _, err := e.Ping(t.Context(), bobKey); !errors.Is(err, net.ErrClosed) {
		t.Errorf("ping after the end: %v, want %v", err, net.ErrClosed)
	}
	e.Close()
}

func BenchmarkReceive(b *testing.B) {
	s := &lazySocket{}
	for range 128 {
		s.batch = append(s.batch, packet(1, false))
		s.from = append(s.from, bobAddr)
	}
	m, _ := testMux(s)
	receive := m.receiver(socket4, s)
	bufs, sizes, peers := make([][]byte, 128), make([]int, 128), make([]Key, 128)
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
	}
	for b.Loop() {
		receive(bufs, sizes, peers)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/128, "ns/packet")
}

// BenchmarkOnward relays for two peers: 128 packets of one to the other.
func BenchmarkOnward(b *testing.B) {
	s := &lazySocket{}
	for range 128 {
		s.batch = append(s.batch, append(wire.AppendHeader(nil, wire.Header{Type: wire.Forward, ID: wire.PairID(7, 8)}), make([]byte, 1240)...))
		s.batch[len(s.batch)-1][wire.HeaderSize] = 4
		s.from = append(s.from, someAddr)
	}
	m, _ := testMux(s)
	m.relayRate = 1 << 40
	t := *m.table.Load()
	t.clients = map[netip.AddrPort]client{someAddr: {&flow{key: Key{3}}, 8}}
	m.table.Store(&t)
	bufs, sizes, peers := make([][]byte, 128), make([]int, 128), make([]Key, 128)
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
	}
	for b.Loop() {
		n, _ := s.Read(bufs, sizes, s.from)
		m.sort(socket4, bufs[:n], sizes, s.from, peers)
	}
	if got := m.onwards.stats(); got.Dropped > 0 || got.Packets != uint64(b.N)*128 {
		b.Errorf("%+v after %d rounds", got, b.N)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/128, "ns/packet")
}

func BenchmarkSend(b *testing.B) {
	m, _ := testMux(&lazySocket{})
	packets := [][]byte{packet(1, false)}
	for b.Loop() {
		m.send(bobKey, packets)
	}
}

// lendingSocket lends what lazySocket would copy.
type lendingSocket struct{ lazySocket }

func (s *lendingSocket) Lend(packets [][]byte, from []netip.AddrPort) (int, error) {
	copy(from, s.from)
	return copy(packets, s.batch), nil
}

// A view keeps only what is WireGuard's, without the relay's header, in order.
func TestViews(t *testing.T) {
	one, two, three := packet(1, false), packet(2, false), packet(3, false)
	lazy := lazySocket{
		batch: [][]byte{[]byte("noise"), one, relayed(7, two), nil, three, relayed(8, two)},
		from:  []netip.AddrPort{bobAddr, bobAddr, relayAddr, bobAddr, someAddr, relayAddr},
	}
	lending, f := testMux(&lazy)
	lending.sockets = []Socket{&lendingSocket{lazy}, nil}
	filling, _ := testMux(&lazy)
	for name, m := range map[string]*mux{"lending socket": lending, "other socket": filling} {
		views := m.views()
		if len(views) != 2 {
			t.Fatalf("%s: %d views, want one for the socket and one for what is injected", name, len(views))
		}
		packets, peers := make([][]byte, 8), make([]Key, 8)
		n, err := views[1](packets, peers)
		if err != nil || n != 3 {
			t.Fatalf("%s: got %d packets, %v, want 3", name, n, err)
		}
		for i, want := range []struct {
			data []byte
			peer Key
		}{{one, bobKey}, {two, bobKey}, {three, Key{}}} {
			if string(packets[i]) != string(want.data) || peers[i] != want.peer {
				t.Errorf("%s: packet %d is %.8x of %v, want %.8x of %v", name, i, packets[i], peers[i][0], want.data, want.peer[0])
			}
		}
	}
	if got, want := f.counters(), (traffic{received: 1, relayed: 1, returned: 1}); got != want {
		t.Errorf("counters = %+v, want %+v", got, want)
	}
}

func TestInjectedView(t *testing.T) {
	m, _ := testMux(&lazySocket{})
	view := m.views()[0]
	for i := range 3 {
		m.inject(relayed(7, packet(uint64(i), false)))
	}
	packets, peers := make([][]byte, 2), make([]Key, 2)
	for _, want := range []int{2, 1} {
		if n, err := view(packets, peers); n != want || err != nil || peers[0] != bobKey || !wire.IsWireGuard(packets[0]) {
			t.Errorf("got %d packets of %v, %v, want %d", n, peers[0][0], err, want)
		}
	}
	if len(m.spares) != 2 {
		t.Errorf("%d buffers were given back, want those of the first call", len(m.spares))
	}
	m.close()
	if _, err := view(packets, peers); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}
