package fastpath

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/curve25519"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"meshd/agent/tunnel/filter"
	"meshd/agent/tunnel/vnet"
)

const (
	patience = 30 * time.Second
	testMTU  = 1400
)

// end is one end of a tunnel: a device of wireguard-go, alone or behind a Path.
type end struct {
	t       testing.TB
	private [32]byte
	key     Key
	addr4   netip.Addr
	addr6   netip.Addr
	dev     *device.Device
	path    *Path // nil: stock
	from    *borrowed
	far     *end
	others  []*end       // ends that this one has besides
	skew    atomic.Int64 // what the path's clock is ahead

	out, in chan []byte // packets from and to the host
	wire    chan []byte // packets from the network
	events  chan tun.Event
	opened  atomic.Bool
	closed  chan struct{}
	close   func()
	ended   chan struct{} // Run has returned

	mu   sync.Mutex
	tap  func(b []byte) bool // sees what this end sends; false: it is lost
	seen map[uint32]int      // packets sent, by type
}

// The ends of a pair, by whether they have a fast path.
var pairs = []struct {
	name string
	a, b bool
}{{"fast to stock", true, false}, {"stock to fast", false, true}, {"fast to fast", true, true}}

func newPair(t testing.TB, a, b bool) (*end, *end) {
	t.Helper()
	x, y := newEnd(t, 1), newEnd(t, 2)
	x.far, y.far = y, x
	x.start(a)
	y.start(b)
	return x, y
}

func newEnd(t testing.TB, n byte) *end {
	e := &end{
		t: t, addr4: netip.AddrFrom4([4]byte{100, 96, 0, n}), addr6: netip.AddrFrom16([16]byte{0: 0xfd, 15: n}),
		out: make(chan []byte), in: make(chan []byte, 4096), wire: make(chan []byte, 4096),
		closed: make(chan struct{}), events: make(chan tun.Event), ended: make(chan struct{}), seen: make(map[uint32]int),
	}
	e.close = sync.OnceFunc(func() { close(e.closed); close(e.events) })
	e.private[1], e.private[31] = n, 64
	p, err := curve25519.X25519(e.private[:], curve25519.Basepoint)
	if err != nil {
		t.Fatal(err)
	}
	e.key = Key(p)
	return e
}

func (e *end) start(fast bool) {
	e.t.Helper()
	l, err := readLayout()
	if err != nil {
		e.t.Fatal(err)
	}
	log := device.NewLogger(device.LogLevelSilent, "")
	if fast {
		if e.path, err = New((*memTUN)(e), (*memTransport)(e), filter.New(nil)); err != nil {
			e.t.Fatal(err)
		}
		e.path.now = func() time.Time { return time.Now().Add(time.Duration(e.skew.Load())) }
		e.dev = device.NewDevice(e.path.TUN(), (*memBind)(e), log)
		go func() { defer close(e.ended); e.path.Run(e.dev) }()
	} else {
		close(e.ended)
		e.dev = device.NewDevice((*memTUN)(e), (*memBind)(e), log)
	}
	e.t.Cleanup(e.stop)
	e.dev.DisableSomeRoamingForBrokenMobileSemantics()
	e.from = &borrowed{l, e.dev}
	e.set("private_key=%x\n%s", e.private, describe(e.far))
	if err := e.dev.Up(); err != nil {
		e.t.Fatal(err)
	}
}

// describe is a peer in the device's language.
func describe(e *end) string {
	return fmt.Sprintf("public_key=%x\nendpoint=%x\nallowed_ip=%v/32\nallowed_ip=%v/128\n", e.key, e.key, e.addr4, e.addr6)
}

func (e *end) stop() {
	e.dev.Close()
	<-e.ended
}

func (e *end) set(format string, args ...any) {
	e.t.Helper()
	if err := e.dev.IpcSet(fmt.Sprintf(format, args...)); err != nil {
		e.t.Fatal(err)
	}
}

// peer is the far end as this device has it.
func (e *end) peer() *device.Peer { return e.dev.LookupPeer(device.NoisePublicKey(e.far.key)) }

// keypair is the one in use.
func (e *end) keypair() *device.Keypair {
	e.t.Helper()
	k := e.from.current(e.peer())
	if k == nil {
		e.t.Fatal("no keypair")
	}
	return k
}

// onWire sets what sees the packets that e sends.
func (e *end) onWire(tap func(b []byte) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tap = tap
}

func (e *end) send(to *end, bufs [][]byte) {
	for _, b := range bufs {
		b = bytes.Clone(b)
		e.mu.Lock()
		e.seen[binary.LittleEndian.Uint32(b)]++
		pass := e.tap == nil || e.tap(b)
		e.mu.Unlock()
		if pass {
			to.deliver(b)
		}
	}
}

func (e *end) sent(kind uint32) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.seen[kind]
}

// deliver is the network bringing a packet.
func (e *end) deliver(b []byte) {
	select {
	case e.wire <- bytes.Clone(b):
	case <-e.closed:
	}
}

// write is the host of e sending a packet.
func (e *end) write(packet []byte) {
	e.t.Helper()
	select {
	case e.out <- packet:
	case <-time.After(patience):
		e.t.Fatal("the TUN takes no packet")
	}
}

// read is the host of e receiving a packet.
func (e *end) read() []byte {
	e.t.Helper()
	select {
	case p := <-e.in:
		return p
	case <-time.After(patience):
		e.t.Fatal("no packet arrives")
		return nil
	}
}

// want reads packets, and compares.
func (e *end) want(packets ...[]byte) {
	e.t.Helper()
	for _, p := range packets {
		if got := e.read(); !bytes.Equal(got, p) {
			e.t.Fatalf("%v got %d bytes %.24x…, want %d bytes %.24x…", e.addr4, len(got), got, len(p), p)
		}
	}
}

// pass sends packets through the tunnel.
func (e *end) pass(packets ...[]byte) {
	e.t.Helper()
	for _, p := range packets {
		e.write(p)
		e.far.want(p)
	}
}

// hold keeps count transport packets that e's host sends from the far end.
func (e *end) hold(packets ...[]byte) [][]byte {
	e.t.Helper()
	held := make(chan []byte, len(packets))
	e.onWire(func(b []byte) bool {
		if b[0] != device.MessageTransportType || len(b) == device.MessageKeepaliveSize {
			return true
		}
		held <- b
		return false
	})
	var all [][]byte
	for _, p := range packets {
		e.write(p)
		select {
		case b := <-held:
			all = append(all, b)
		case <-time.After(patience):
			e.t.Fatal("nothing sent")
		}
	}
	e.onWire(nil)
	return all
}

// forge seals a packet with the keypair that e sends with.
func (e *end) forge(counter uint64, plain []byte) []byte {
	k := e.keypair()
	b := binary.LittleEndian.AppendUint32(nil, device.MessageTransportType)
	b = binary.LittleEndian.AppendUint32(b, e.from.remoteIndex(k))
	b = binary.LittleEndian.AppendUint64(b, counter)
	return e.from.sealer(k).Seal(b, binary.LittleEndian.AppendUint64(make([]byte, 4, 12), counter), plain, nil)
}

// packet4 is an IPv4 packet from one end to the other with n bytes of payload.
func packet4(from, to *end, n int) []byte {
	b := make([]byte, header4+n)
	b[0], b[8], b[9] = 0x45, 64, 253 // a protocol for experiments
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[source4:], from.addr4.AsSlice())
	copy(b[target4:], to.addr4.AsSlice())
	for i := range b[header4:] {
		b[header4+i] = byte(n + i)
	}
	return b
}

func packet6(from, to *end, n int) []byte {
	b := make([]byte, header6+n)
	b[0], b[6], b[7] = 0x60, 253, 64
	binary.BigEndian.PutUint16(b[4:], uint16(n))
	copy(b[source6:], from.addr6.AsSlice())
	copy(b[target6:], to.addr6.AsSlice())
	for i := range b[header6:] {
		b[header6+i] = byte(n + i)
	}
	return b
}

// memTUN is an end's TUN, in memory.
type memTUN end

func (m *memTUN) ReadFrames(frames [][]byte) (int, error) {
	select {
	case p := <-m.out:
		frames[0] = append(make([]byte, vnet.HeaderLen), p...)
		return 1, nil
	case <-m.closed:
		return 0, os.ErrClosed
	}
}

func (m *memTUN) NewWriter() *vnet.Coalescer {
	return vnet.NewCoalescer(func(frame [][]byte) error {
		m.in <- bytes.Join(frame, nil)[vnet.HeaderLen:]
		return nil
	}, vnet.Offloads{})
}

func (m *memTUN) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	select {
	case p := <-m.out:
		sizes[0] = copy(bufs[0][offset:], p)
		return 1, nil
	case <-m.closed:
		return 0, os.ErrClosed
	}
}

func (m *memTUN) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		m.in <- bytes.Clone(b[offset:])
	}
	return len(bufs), nil
}

func (m *memTUN) File() *os.File           { return nil }
func (m *memTUN) MTU() (int, error)        { return testMTU, nil }
func (m *memTUN) Name() (string, error)    { return "mem", nil }
func (m *memTUN) Events() <-chan tun.Event { return m.events }
func (m *memTUN) BatchSize() int           { return 1 }
func (m *memTUN) Close() error             { m.close(); return nil }

// memTransport is an end's network for its fast path.
type memTransport end

func (m *memTransport) Views() []func([][]byte, []Key) (int, error) {
	view := func(packets [][]byte, peers []Key) (int, error) {
		select {
		case b := <-m.wire:
			packets[0], peers[0] = b, m.far.key
		case <-m.closed:
			return 0, net.ErrClosed
		}
		n := 1
		for n < len(packets) && len(m.wire) > 0 {
			packets[n], peers[n] = <-m.wire, m.far.key
			n++
		}
		return n, nil
	}
	return []func([][]byte, []Key) (int, error){view}
}

func (m *memTransport) Send(peer Key, bufs [][]byte) error {
	for _, to := range append([]*end{m.far}, m.others...) {
		if to.key == peer {
			(*end)(m).send(to, bufs)
			return nil
		}
	}
	return fmt.Errorf("sent to %x, who is nobody", peer)
}

func (m *memTransport) Close() error { m.close(); return nil }

// memBind is what connects an end's device: to its path, or to the network.
type memBind end

func (m *memBind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	m.opened.Store(true)
	if m.path == nil {
		return []conn.ReceiveFunc{m.receive}, port, nil
	}
	receive := m.path.Receivers()[0]
	return []conn.ReceiveFunc{func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		n, err := receive(bufs, sizes, make([]Key, 1))
		eps[0] = somewhere{m.far.key}
		return n, err
	}}, port, nil
}

func (m *memBind) receive(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
	select {
	case b := <-m.wire:
		sizes[0], eps[0] = copy(bufs[0], b), somewhere{m.far.key}
		return 1, nil
	case <-m.closed:
		return 0, net.ErrClosed
	}
}

func (m *memBind) Send(bufs [][]byte, to conn.Endpoint) error {
	if m.path != nil {
		return m.path.Send(to.(somewhere).key, bufs)
	}
	(*end)(m).send(m.far, bufs)
	return nil
}

// Close is called once before Open: the device does that.
func (m *memBind) Close() error {
	switch {
	case !m.opened.Load():
	case m.path != nil:
		return m.path.Close()
	default:
		m.close()
	}
	return nil
}

func (m *memBind) ParseEndpoint(s string) (conn.Endpoint, error) {
	key, err := hex.DecodeString(s)
	if err != nil {
		return nil, err
	}
	if m.path != nil {
		m.path.Slim(m.dev.LookupPeer(device.NoisePublicKey(key)))
	}
	return somewhere{Key(key)}, nil
}
func (m *memBind) SetMark(uint32) error { return nil }
func (m *memBind) BatchSize() int       { return 1 }

// somewhere is where a peer is.
type somewhere struct{ key Key }

func (somewhere) ClearSrc()           {}
func (somewhere) SrcToString() string { return "" }
func (somewhere) DstToString() string { return "192.0.2.1:1" }
func (somewhere) DstToBytes() []byte  { return []byte("far") }
func (somewhere) DstIP() netip.Addr   { return netip.AddrFrom4([4]byte{192, 0, 2, 1}) }
func (somewhere) SrcIP() netip.Addr   { return netip.Addr{} }
