package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"meshd/punch/stun"
	"meshd/punch/udp"
	"meshd/punch/wire"
)

const patience = 5 * time.Second

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// startServer runs a server of two ports on the loopback until the test ends. Its
// WebSockets are at the URL, by the member's id.
func startServer(t testing.TB, observed func(wire.RelayID, netip.AddrPort, Via)) (s *Server, url func(wire.RelayID) string) {
	t.Helper()
	s, err := NewServer(ServerConfig{UDP: []netip.AddrPort{loopback, loopback}, Sockets: 3, Directory: directory{}, Observed: observed})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var id wire.RelayID
		fmt.Sscanf(r.URL.Path, "/%d", &id)
		s.ServeWebSocket(w, r, id)
	}))
	httpClient = web.Client()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		web.Close()
	})
	return s, func(id wire.RelayID) string { return fmt.Sprintf("%s/%d", web.URL, id) }
}

// httpClient trusts the server started last.
var httpClient *http.Client

// end is a member of the end-to-end tests, connected in one of two ways.
type end interface {
	send(t testing.TB, b []byte)
	receive(t testing.TB) []byte
}

// udpEnd is a member on a socket.
type udpEnd struct {
	conn     *udp.Conn
	client   *Client
	incoming chan []byte
	counter  atomic.Pointer[sink] // benchmarks: counts instead of incoming
}

func newUDPEnd(t testing.TB, id wire.RelayID) *udpEnd {
	t.Helper()
	conn, err := udp.Listen(udp.Config{Addr: loopback})
	if err != nil {
		t.Fatal(err)
	}
	e := &udpEnd{conn: conn, client: newMember(id), incoming: make(chan []byte, 1024)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.read()
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return e
}

// read passes on what comes until the socket is closed.
func (e *udpEnd) read() {
	n := e.conn.BatchSize()
	bufs, sizes, from := make([][]byte, n), make([]int, n), make([]netip.AddrPort, n)
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
	}
	for {
		n, err := e.conn.Read(bufs, sizes, from)
		if err != nil {
			return
		}
		if k := e.counter.Load(); k != nil {
			k.count(n)
			continue
		}
		for i := range n {
			e.incoming <- bytes.Clone(bufs[i][:sizes[i]])
		}
	}
}

// bind brings the session up.
func (e *udpEnd) bind(t testing.TB, relay netip.AddrPort) Bound {
	t.Helper()
	for _, b := range e.client.Start(time.Now(), relay) {
		e.write(t, b, relay)
	}
	for {
		m := e.receive(t)
		more, event := e.client.Receive(time.Now(), m, relay)
		for _, b := range more {
			e.write(t, b, relay)
		}
		if b, ok := event.(Bound); ok && m[1] == byte(wire.Welcome) {
			return b
		}
	}
}

func (e *udpEnd) write(t testing.TB, b []byte, to netip.AddrPort) {
	t.Helper()
	if err := e.conn.Write([][]byte{b}, to); err != nil {
		t.Fatal(err)
	}
}

func (e *udpEnd) send(t testing.TB, b []byte) { e.write(t, b, e.client.Addr()) }

func (e *udpEnd) receive(t testing.TB) []byte {
	t.Helper()
	select {
	case b := <-e.incoming:
		return b
	case <-time.After(patience):
		t.Fatal("nothing received")
		return nil
	}
}

// webEnd is a member on a WebSocket.
type webEnd struct{ conn *WSConn }

func dialEnd(t testing.TB, url string) webEnd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := DialWebSocket(ctx, url, httpClient)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return webEnd{conn}
}

func (e webEnd) send(_ testing.TB, b []byte) { e.conn.Send(b) }

func (e webEnd) receive(t testing.TB) []byte {
	t.Helper()
	timer := time.AfterFunc(patience, func() { e.conn.Close() })
	defer timer.Stop()
	b, err := e.conn.Read()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// await waits until a condition holds.
func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

func TestEndToEnd(t *testing.T) {
	var seen sightings
	s, url := startServer(t, seen.observe)
	a, b := newUDPEnd(t, alice), newUDPEnd(t, bob)
	bound := a.bind(t, s.Addrs()[0])
	if bound.Observed != a.conn.LocalAddr() || time.Since(bound.HubTime).Abs() > patience {
		t.Errorf("bound = %+v, want observed %v, time now", bound, a.conn.LocalAddr())
	}
	b.bind(t, s.Addrs()[1])
	c := dialEnd(t, url(carol))
	await(t, "all three seen", func() bool { return s.Stats().UDP == 2 && s.Stats().WebSockets == 1 })
	d := dialEnd(t, url(4))
	await(t, "four seen", func() bool { return s.Stats().WebSockets == 2 })

	ends := map[wire.RelayID]end{alice: a, bob: b, carol: c, 4: d}
	for from, sender := range ends {
		for to, receiver := range ends {
			if from == to {
				continue
			}
			t.Logf("%d to %d", from, to)
			sender.send(t, data(bound.Epoch, from^to, "hello"))
			if got, want := receiver.receive(t), data(bound.Epoch, from^to, "hello"); !bytes.Equal(got, want) {
				t.Errorf("received %x, want %x", got, want)
			}
		}
	}
	await(t, "packets counted", func() bool { return s.Stats().Packets == 12 })
	if got := s.Stats(); got.Bytes != 12*uint64(len(data(0, 0, "hello"))) || len(got.Drops) > 0 {
		t.Errorf("stats = %+v, want 12 packets and no drops", got)
	}
}

func TestReplyFromTheSameSocket(t *testing.T) {
	s, _ := startServer(t, nil)
	conn, err := udp.Listen(udp.Config{Addr: loopback})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i, addr := range s.Addrs() {
		other := s.Addrs()[1-i]
		for _, test := range []struct {
			b    []byte
			want netip.AddrPort
		}{
			{data(1, alice^bob, "x"), addr},
			{stun.Request(stun.TxID{1}, stun.Change{}), addr},
			{stun.Request(stun.TxID{1}, stun.Change{Port: true}), other},
		} {
			conn.Write([][]byte{test.b}, addr)
			sizes, from := make([]int, 1), make([]netip.AddrPort, 1)
			if _, err := conn.Read([][]byte{make([]byte, 2048)}, sizes, from); err != nil || from[0] != test.want {
				t.Errorf("answer to %x from %v (%v), want %v", test.b, from[0], err, test.want)
			}
		}
	}
}

func TestNewerWebSocketReplaces(t *testing.T) {
	var seen sightings
	s, url := startServer(t, seen.observe)
	first := dialEnd(t, url(carol))
	await(t, "first seen", func() bool { return s.Stats().WebSockets == 1 })
	second := dialEnd(t, url(carol))
	if _, err := first.conn.Read(); err == nil {
		t.Error("the first one still lives")
	}
	await(t, "one left", func() bool { return s.Stats().WebSockets == 1 })
	second.send(t, newMember(carol).Start(time.Now(), netip.AddrPort{})[0])
	if got := second.receive(t); got[1] != byte(wire.Welcome) {
		t.Errorf("received %x, want a WELCOME", got)
	}
	second.conn.Close()
	await(t, "the end seen", func() bool {
		all := seen.take()
		return len(all) > 0 && all[len(all)-1] == sighting{id: carol}
	})
}

func TestDrop(t *testing.T) {
	var seen sightings
	s, url := startServer(t, seen.observe)
	a := newUDPEnd(t, alice)
	a.bind(t, s.Addrs()[0])
	web := dialEnd(t, url(alice))
	await(t, "both sessions", func() bool { return s.Stats().WebSockets == 1 })
	s.Drop(alice)
	if got := seen.take(); len(got) != 2 || got[1] != (sighting{id: alice}) {
		t.Errorf("observed = %v, want bound and gone", got)
	}
	if _, err := web.conn.Read(); err == nil {
		t.Error("the WebSocket still lives")
	}
	a.send(t, data(a.client.Epoch(), alice^bob, "x"))
	if got := a.receive(t); len(got) != wire.HeaderSize || got[1] != byte(wire.Reset) {
		t.Errorf("received %x, want a RESET", got)
	}
	if got := s.Stats(); got.UDP != 0 || got.WebSockets != 0 {
		t.Errorf("stats = %+v, want no sessions", got)
	}
}

// Random bytes to a port: no crash, and nothing comes back but what STUN and the
// session rules allow, which random bytes never reach.
func TestRandomBytes(t *testing.T) {
	s, _ := startServer(t, nil)
	a := newUDPEnd(t, alice)
	r := rand.New(rand.NewPCG(3, 4))
	const count = 2000
	for i := range count {
		b := make([]byte, r.IntN(1400))
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		if i%4 == 0 && len(b) > 2 {
			b[0], b[1] = 0xd2, byte(2+r.IntN(6))
		}
		a.write(t, b, s.Addrs()[i%2])
	}
	a.bind(t, s.Addrs()[0])
	await(t, "the replies to be counted", func() bool { return s.Stats().Replies >= 2 })
	if got := s.Stats(); got.Replies != 2 || got.Drops[DropMalformed]+got.Drops[DropStranger] == 0 {
		t.Errorf("stats = %+v, want two replies: those of the handshake", got)
	}
}

func TestPortInUse(t *testing.T) {
	s, _ := startServer(t, nil)
	taken := s.Addrs()[1]
	_, err := NewServer(ServerConfig{UDP: []netip.AddrPort{loopback, taken}, Directory: directory{}})
	if err == nil || !strings.Contains(err.Error(), taken.String()) {
		t.Errorf("error = %v, want one that names %v", err, taken)
	}
}

func TestWebSocketAfterStop(t *testing.T) {
	s, url := startServer(t, nil)
	s.Close()
	web := dialEnd(t, url(alice))
	if _, err := web.conn.Read(); err == nil {
		t.Error("a closed server serves")
	}
}

func TestDialErrors(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for _, url := range []string{plain.URL, "http://127.0.0.1:1/relay"} {
		_, err := DialWebSocket(context.Background(), url, plain.Client())
		if err == nil || !strings.Contains(err.Error(), url) {
			t.Errorf("error = %v, want one that names %s", err, url)
		}
	}
}

func TestReadAfterClose(t *testing.T) {
	_, url := startServer(t, nil)
	web := dialEnd(t, url(alice))
	web.conn.Close()
	web.conn.Close()
	if _, err := web.conn.Read(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("error = %v, want %v", err, net.ErrClosed)
	}
	web.conn.Send(data(1, alice^bob, "into the void"))
}
