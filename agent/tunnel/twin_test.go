package tunnel

import (
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/curve25519"
	"golang.zx2c4.com/wireguard/tun/tuntest"
)

const patience = 10 * time.Second

// twin is one end of a Transport in memory.
type twin struct {
	key    Key           // of this end
	peer   *twin         // the other end
	from   func(Key) Key // who a packet is said to be from; nil: the truth
	in     chan []byte   // to be received
	closed chan struct{}
	close  func()

	mu    sync.Mutex
	sent  map[Key]int // packets by the peer they were sent to
	types map[uint32]int
}

func newTwins(a, b Key) (*twin, *twin) {
	x, y := newTwin(a), newTwin(b)
	x.peer, y.peer = y, x
	return x, y
}

func newTwin(k Key) *twin {
	t := &twin{key: k, in: make(chan []byte, 1024), closed: make(chan struct{}), sent: make(map[Key]int), types: make(map[uint32]int)}
	t.close = sync.OnceFunc(func() { close(t.closed) })
	return t
}

func (t *twin) Receivers() []func([][]byte, []int, []Key) (int, error) {
	// Two, as an engine has one for each family; both read the same queue.
	return []func([][]byte, []int, []Key) (int, error){t.receive, t.receive}
}

func (t *twin) receive(bufs [][]byte, sizes []int, peers []Key) (int, error) {
	select {
	case <-t.closed:
		return 0, net.ErrClosed
	case p := <-t.in:
		sizes[0], peers[0] = copy(bufs[0], p), t.peer.key
		if t.from != nil {
			peers[0] = t.from(peers[0])
		}
		return 1, nil
	}
}

// Views lends, for the fast path of a tunnel on a real TUN.
func (t *twin) Views() []func([][]byte, []Key) (int, error) {
	view := func(packets [][]byte, peers []Key) (int, error) {
		buf, size := [][]byte{make([]byte, 2048)}, []int{0}
		n, err := t.receive(buf, size, peers)
		packets[0] = buf[0][:size[0]]
		return n, err
	}
	return []func([][]byte, []Key) (int, error){view, view}
}

func (t *twin) Send(peer Key, bufs [][]byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range bufs {
		t.sent[peer]++
		t.types[binary.LittleEndian.Uint32(b)]++
		if peer == t.peer.key {
			select {
			case t.peer.in <- append([]byte(nil), b...):
			case <-t.peer.closed:
			}
		}
	}
	return nil
}

func (t *twin) BatchSize() int { return 8 }
func (t *twin) Close() error   { t.close(); return nil }

func (t *twin) sentTo(k Key) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sent[k]
}

// initiations counts the handshakes that this end began.
func (t *twin) initiations() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.types[1]
}

// side is a tunnel with all that a test wants of it.
type side struct {
	*userspace
	private PrivateKey
	key     Key
	addr    netip.Addr
	tun     *tuntest.ChannelTUN
	wire    *twin
}

// keys returns a private key made of one byte, and its public key.
func keys(b byte) (private PrivateKey, public Key) {
	private[1], private[31] = b, 64
	p, err := curve25519.X25519(private[:], curve25519.Basepoint)
	if err != nil {
		panic(err)
	}
	return private, Key(p)
}

// newPair makes two tunnels that know each other, at 100.96.0.1 and .2.
func newPair(t *testing.T) (a, b *side) {
	t.Helper()
	a, b = newSide(1), newSide(2)
	a.wire, b.wire = newTwins(a.key, b.key)
	a.start(t)
	b.start(t)
	a.setPeers(t, b.asPeer())
	b.setPeers(t, a.asPeer())
	return a, b
}

func newSide(b byte) *side {
	s := &side{addr: netip.AddrFrom4([4]byte{100, 96, 0, b}), tun: tuntest.NewChannelTUN()}
	s.private, s.key = keys(b)
	return s
}

func (s *side) start(t *testing.T) {
	t.Helper()
	c := Config{Interface: "twin", PrivateKey: s.private, Transport: s.wire, Log: slog.New(slog.DiscardHandler)}
	u, err := newUserspace(c, s.tun.TUN())
	if err != nil {
		t.Fatal(err)
	}
	s.userspace = u
	t.Cleanup(func() { u.Close() })
}

func (s *side) asPeer() Peer {
	return Peer{Key: s.key, AllowedIPs: []netip.Prefix{netip.PrefixFrom(s.addr, 32)}}
}

func (s *side) setPeers(t *testing.T, peers ...Peer) {
	t.Helper()
	if err := s.SetPeers(peers); err != nil {
		t.Fatal(err)
	}
}

// send passes one IP packet from s's host to to's host.
func (s *side) send(t *testing.T, to *side) {
	t.Helper()
	packet := tuntest.Ping(to.addr, s.addr)
	deadline := time.After(patience)
	select {
	case s.tun.Outbound <- packet:
	case <-deadline:
		t.Fatalf("%v: TUN takes no packet", s.addr)
	}
	select {
	case got := <-to.tun.Inbound:
		if string(got) != string(packet) {
			t.Fatalf("%v got %x, want %x", to.addr, got, packet)
		}
	case <-deadline:
		t.Fatalf("no packet from %v to %v", s.addr, to.addr)
	}
}

// await fails the test unless done comes true in time.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
