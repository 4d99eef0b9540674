package nattest_test

import (
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"meshd/punch/nattest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// settle is more than any packet of these tests is on its way.
const settle = 100 * time.Millisecond

var (
	// wan is a link as most homes have it.
	wan = nattest.Link{Delay: 10 * time.Millisecond}

	addr     = netip.MustParseAddr
	prefix   = netip.MustParsePrefix
	endpoint = netip.MustParseAddrPort
)

// world is a net that remembers what arrived.
type world struct {
	*nattest.Net
	t *testing.T

	mu      sync.Mutex // guards following
	arrived []nattest.Packet
}

// bubble runs a story in a world of its own, where time costs nothing.
func bubble(t *testing.T, c nattest.Config, story func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t}
		c.Delivered = func(_, _ *nattest.Host, p nattest.Packet) {
			w.mu.Lock()
			defer w.mu.Unlock()
			p.Payload = nil
			w.arrived = append(w.arrived, p)
		}
		w.Net = nattest.New(c)
		defer w.Close()
		story(w)
	})
}

// probe sends one datagram, waits, and returns the source it arrived from.
func (w *world) probe(s *nattest.Socket, to netip.AddrPort) (seen netip.AddrPort, arrived bool) {
	w.t.Helper()
	return w.probeTTL(s, to, 0)
}

func (w *world) probeTTL(s *nattest.Socket, to netip.AddrPort, ttl int) (seen netip.AddrPort, arrived bool) {
	w.t.Helper()
	w.take()
	if err := s.WriteTTL([]byte("probe"), to, ttl); err != nil {
		w.t.Fatal(err)
	}
	time.Sleep(settle)
	if all := w.take(); len(all) > 0 {
		return all[0].Src, true
	}
	return netip.AddrPort{}, false
}

// observe is probe where the datagram must arrive.
func (w *world) observe(s *nattest.Socket, to netip.AddrPort) netip.AddrPort {
	w.t.Helper()
	seen, ok := w.probe(s, to)
	if !ok {
		w.t.Fatalf("nothing arrived at %v; dropped: %v", to, w.Dropped())
	}
	return seen
}

// reaches reports whether a datagram arrives.
func (w *world) reaches(s *nattest.Socket, to netip.AddrPort) bool {
	w.t.Helper()
	_, ok := w.probe(s, to)
	return ok
}

// take returns what arrived since it was last called.
func (w *world) take() []nattest.Packet {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.arrived
	w.arrived = nil
	return all
}

// server is a public host that listens on these ports.
func (w *world) server(ports ...uint16) []*nattest.Socket {
	w.t.Helper()
	h, _ := w.Place(wan)
	var all []*nattest.Socket
	for _, port := range ports {
		all = append(all, listen(w.t, h, netip.AddrPortFrom(h.Addr(), port)))
	}
	return all
}

// client is a socket of a host behind NATs.
func (w *world) client(nats ...nattest.NAT) (*nattest.Socket, []*nattest.Site) {
	w.t.Helper()
	h, sites := w.Place(wan, nats...)
	return listen(w.t, h, endpoint("0.0.0.0:41641")), sites
}

// neighbour is a socket of another host of a LAN.
func (w *world) neighbour(s *nattest.Segment, address string) *nattest.Socket {
	w.t.Helper()
	return listen(w.t, s.Host(nattest.LAN, prefix(address)), endpoint("0.0.0.0:41641"))
}

func listen(t *testing.T, h *nattest.Host, at netip.AddrPort) *nattest.Socket {
	t.Helper()
	s, err := h.Listen(at)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func send(t *testing.T, s *nattest.Socket, to netip.AddrPort, text string) {
	t.Helper()
	if err := s.Write([][]byte{[]byte(text)}, to); err != nil {
		t.Fatal(err)
	}
}

// read waits for one datagram.
func read(s *nattest.Socket) (text string, from netip.AddrPort, err error) {
	buf, size, src := make([]byte, 2048), make([]int, 1), make([]netip.AddrPort, 1)
	_, err = s.Read([][]byte{buf}, size, src)
	return string(buf[:size[0]]), src[0], err
}
