package tunnel

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
	"golang.zx2c4.com/wireguard/tun/tuntest"

	"meshd/agent/netcfg/nstest"
	"meshd/punch/udp"
)

// The benchmark passes packets between two devices over loopback, by our bind
// over punch/udp and by wireguard-go's own. Only the ratio of the two, in one
// run, means something.
//
//	go test -run - -bench Bind ./agent/tunnel/

// window is how many packets may be under way: less than a socket's buffer.
const window = 1024

// hose is a TUN that reads one packet again and again, and counts what is
// written to it.
type hose struct {
	packet []byte
	events chan tun.Event
	closed chan struct{}
	wake   chan struct{} // ticks when packets have arrived
	credit atomic.Int64  // packets it may still read
	count  atomic.Int64  // packets written to it
	far    *hose         // gets credit for what is written here
	once   sync.Once
}

func newHose(packet []byte) *hose {
	return &hose{packet: packet, events: make(chan tun.Event), closed: make(chan struct{}), wake: make(chan struct{}, 1)}
}

func (h *hose) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	for h.credit.Load() < int64(len(bufs)) {
		select {
		case <-h.closed:
			return 0, os.ErrClosed
		case <-h.wake:
		}
	}
	h.credit.Add(-int64(len(bufs)))
	for i := range bufs {
		sizes[i] = copy(bufs[i][offset:], h.packet)
	}
	return len(bufs), nil
}

func (h *hose) Write(bufs [][]byte, _ int) (int, error) {
	h.count.Add(int64(len(bufs)))
	h.far.give(int64(len(bufs)))
	return len(bufs), nil
}

func (h *hose) give(n int64) {
	h.credit.Add(n)
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *hose) File() *os.File           { return nil }
func (h *hose) MTU() (int, error)        { return DefaultMTU, nil }
func (h *hose) Name() (string, error)    { return "hose", nil }
func (h *hose) Events() <-chan tun.Event { return h.events }
func (h *hose) BatchSize() int           { return conn.IdealBatchSize }
func (h *hose) Close() error {
	h.once.Do(func() { close(h.closed); close(h.events) })
	return nil
}

// wired is a transport of one socket and one peer.
type wired struct {
	*udp.Conn
	peer Key
	addr netip.AddrPort
}

func (w *wired) Receivers() []func([][]byte, []int, []Key) (int, error) {
	from := make([]netip.AddrPort, w.BatchSize())
	return []func([][]byte, []int, []Key) (int, error){func(bufs [][]byte, sizes []int, peers []Key) (int, error) {
		n, err := w.Read(bufs, sizes, from)
		for i := range n {
			peers[i] = w.peer
		}
		return n, err
	}}
}

func (w *wired) Send(_ Key, bufs [][]byte) error { return w.Write(bufs, w.addr) }

func BenchmarkBind(b *testing.B) {
	nstest.IP(b, "link set lo up")
	packet := append(tuntest.Ping(netip.MustParseAddr("100.96.0.2"), netip.MustParseAddr("100.96.0.1")), make([]byte, 1172)...)
	packet[2], packet[3] = byte(len(packet)>>8), byte(len(packet))
	for name, start := range map[string]func(b *testing.B, x, y tun.Device){"ours": startOurs, "stock": startStock} {
		b.Run(name, func(b *testing.B) {
			x, y := newHose(packet), newHose(packet)
			x.far, y.far = y, x
			start(b, x, y)
			b.SetBytes(int64(len(packet)))
			flow(b, x, y)
		})
	}
}

// flow passes b.N packets from x to y. What the loopback loses is made good
// for after a pause, or the window would close for ever.
func flow(b *testing.B, x, y *hose) {
	b.ReportAllocs()
	x.give(window)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	var seen, idle int64
	for n := int64(0); n < int64(b.N); n = y.count.Load() {
		<-tick.C
		if n == seen {
			idle++
		}
		if seen = n; idle == 5 {
			idle = 0
			x.give(window - x.credit.Load())
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)*1200*8/b.Elapsed().Seconds()/1e9, "Gbit/s")
}

func startOurs(b *testing.B, x, y tun.Device) {
	b.Helper()
	privateX, keyX := keys(1)
	privateY, keyY := keys(2)
	wx, wy := listen(b, keyY), listen(b, keyX)
	wx.addr, wy.addr = wy.LocalAddr(), wx.LocalAddr()
	for _, s := range []struct {
		dev     tun.Device
		wire    *wired
		private PrivateKey
		ip      string
	}{{x, wx, privateX, "100.96.0.2/32"}, {y, wy, privateY, "100.96.0.1/32"}} {
		u, err := newUserspace(Config{Transport: s.wire, PrivateKey: s.private, Log: slog.New(slog.DiscardHandler)}, s.dev)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { u.Close() })
		if err := u.SetPeers([]Peer{{Key: s.wire.peer, AllowedIPs: prefixes(s.ip)}}); err != nil {
			b.Fatal(err)
		}
	}
}

func listen(b *testing.B, peer Key) *wired {
	b.Helper()
	c, err := udp.Listen(udp.Config{Addr: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		b.Fatal(err)
	}
	return &wired{Conn: c, peer: peer}
}

func startStock(b *testing.B, x, y tun.Device) {
	b.Helper()
	privateX, keyX := keys(1)
	privateY, keyY := keys(2)
	for _, s := range []struct {
		dev     tun.Device
		private PrivateKey
		peer    Key
		ip      string
		port    int
	}{{x, privateX, keyY, "100.96.0.2/32", 42001}, {y, privateY, keyX, "100.96.0.1/32", 42002}} {
		d := device.NewDevice(s.dev, conn.NewDefaultBind(), device.NewLogger(device.LogLevelSilent, ""))
		b.Cleanup(d.Close)
		if err := d.IpcSet(fmt.Sprintf("private_key=%x\nlisten_port=%d\npublic_key=%x\nendpoint=127.0.0.1:%d\nallowed_ip=%s\n",
			[32]byte(s.private), s.port, s.peer, 84003-s.port, s.ip)); err != nil {
			b.Fatal(err)
		}
		if err := d.Up(); err != nil {
			b.Fatal(err)
		}
	}
}
