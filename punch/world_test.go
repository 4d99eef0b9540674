package punch

import (
	"context"
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"meshd/punch/nattest"
	"meshd/punch/wire"
)

// access is a home's line: 10 ms from the core, so that two homes are 41 ms apart.
var access = nattest.Link{Delay: 10 * time.Millisecond}

// world is an internet with a hub and agents, inside a synctest bubble.
type world struct {
	t      *testing.T
	net    *nattest.Net
	hub    *testHub
	agents []*agent

	servers []netip.AddrPort // of STUN, beside the hub

	mu    sync.Mutex // guards following
	peers map[Key]*Peer
	deaf  bool // the hub tells nobody of changes
}

func newWorld(t *testing.T) *world { return newWorldWith(t, nattest.Config{Seed: 1}) }

func newWorldWith(t *testing.T, c nattest.Config) *world {
	w := &world{t: t, net: nattest.New(c), peers: make(map[Key]*Peer)}
	host := w.net.Host(nattest.Link{Delay: time.Millisecond}, netip.MustParsePrefix("203.0.113.1/32"))
	w.hub = newTestHub(t, host)
	return w
}

func (w *world) close() {
	for _, a := range w.agents {
		a.stop()
	}
	w.hub.stop()
	w.net.Close()
}

// agent is an engine on a host, and a tunnel that counts.
type agent struct {
	*Engine
	w     *world
	name  string
	key   Key
	id    wire.RelayID
	host  *nattest.Host
	sites []*nattest.Site
	conf  Config
	end   context.CancelFunc
	tasks sync.WaitGroup

	drops atomic.Bool // its network drops what looks like WireGuard
	dead  atomic.Bool // its tunnel takes packets and never answers
	keeps atomic.Bool // its tunnel sends keepalives

	mu   sync.Mutex // guards following
	got  []arrival
	echo bool
	idle map[Key]bool // keepalives that are due
}

// arrival is a packet that the tunnel got.
type arrival struct {
	from Key
	n    uint64
	at   time.Time

	sound bool // see checked
}

// add starts an agent behind NATs, named from the host outwards.
func (w *world) add(name string, nats ...nattest.NAT) *agent {
	host, sites := w.net.Place(access, nats...)
	a := w.start(name, host, nil)
	a.sites = sites
	return a
}

// addWarm starts an agent that punches before anyone asks.
func (w *world) addWarm(name string, nats ...nattest.NAT) *agent {
	host, sites := w.net.Place(access, nats...)
	a := w.start(name, host, func(c *Config) { c.PrePunch = 0 })
	a.sites = sites
	return a
}

func (w *world) start(name string, host *nattest.Host, change func(*Config)) *agent {
	private := sha256.Sum256([]byte(name))
	priv, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		w.t.Fatal(err)
	}
	a := &agent{w: w, name: name, host: host, id: wire.RelayID(len(w.agents) + 1), key: Key(priv.PublicKey().Bytes())}
	a.conf = Config{
		PrivateKey: private, Port: 41000 + uint16(len(w.agents)),
		Listen:     a.listen,
		Interfaces: host.Interfaces,
		Publish:    a.publish,
		PrePunch:   -1,
		Log:        slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("self", name),
	}
	a.conf.Relay = Relay{ID: a.id, Addrs: slices.Concat(w.hub.addrs, w.servers), Key: relayKey(a.id)}
	if change != nil {
		change(&a.conf)
	}
	w.mu.Lock()
	w.peers[a.key] = &Peer{Key: a.key, Name: name, Relay: a.id, Online: true}
	w.mu.Unlock()
	a.begin()
	w.mu.Lock()
	w.agents = append(w.agents, a)
	w.mu.Unlock()
	w.tell(0)
	return a
}

func (a *agent) begin() {
	e, err := New(a.conf)
	if err != nil {
		a.w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.w.mu.Lock()
	a.Engine, a.end = e, cancel
	a.w.mu.Unlock()
	a.tasks.Go(func() {
		if err := e.Run(ctx); err != nil {
			a.w.t.Error(err)
		}
	})
	for _, receive := range e.Receivers() {
		a.tasks.Go(func() { a.tunnel(e, receive) })
	}
}

func (a *agent) stop() {
	a.end()
	a.tasks.Wait()
}

// restart stops and starts the agent on the same port.
func (a *agent) restart() {
	a.stop()
	a.begin()
	a.w.tell(0)
}

func (a *agent) listen(addr netip.AddrPort) (Socket, error) {
	if addr.Addr().Is6() {
		return nil, errors.New("no IPv6 here")
	}
	s, err := a.host.Listen(addr)
	if err != nil {
		return nil, err
	}
	return filtered{s, a}, nil
}

// filtered is a socket in a network that may know WireGuard by its shape.
type filtered struct {
	*nattest.Socket
	a *agent
}

func (f filtered) Write(bufs [][]byte, to netip.AddrPort) error {
	if f.a.drops.Load() && wire.IsWireGuard(bufs[0]) {
		return nil
	}
	return f.Socket.Write(bufs, to)
}

// publish brings the agent's addresses to the others, as the coordinator would.
func (a *agent) publish(l Local) {
	a.w.mu.Lock()
	p := a.w.peers[a.key]
	p.Candidates, p.NAT, p.Relays = l.Candidates, l.NAT, l.Relays
	p.Generation++
	deaf := a.w.deaf
	a.w.mu.Unlock()
	if !deaf {
		a.w.tell(22 * time.Millisecond)
	}
}

// tell gives every agent the map, after a time.
func (w *world) tell(d time.Duration) {
	time.AfterFunc(d, func() {
		list := w.list()
		w.mu.Lock()
		var engines []*Engine
		for _, a := range w.agents {
			engines = append(engines, a.Engine)
		}
		w.mu.Unlock()
		for _, e := range engines {
			e.SetPeers(list)
		}
	})
}

// list is the map as it stands.
func (w *world) list() []Peer {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []Peer
	for _, p := range w.peers {
		list = append(list, *p)
	}
	return list
}

// tunnel is what stands for WireGuard: it notes what comes, and answers when
// told to.
func (a *agent) tunnel(e *Engine, receive func([][]byte, []int, []Key) (int, error)) {
	bufs, sizes, peers := make([][]byte, e.BatchSize()), make([]int, e.BatchSize()), make([]Key, e.BatchSize())
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
	}
	for {
		n, err := receive(bufs, sizes, peers)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			a.w.t.Error(err)
			return
		}
		for i := range n {
			if sizes[i] > 0 {
				a.arrived(e, bufs[i][:sizes[i]], peers[i])
			}
		}
	}
}

// Data of the tests: WireGuard's shape, a number, and whether it is an answer.
func packet(n uint64, answer bool) []byte {
	b := make([]byte, 96)
	b[0] = 4
	binary.BigEndian.PutUint64(b[8:], n)
	if answer {
		b[16] = 1
	}
	return b
}

func (a *agent) arrived(e *Engine, b []byte, from Key) {
	n := binary.BigEndian.Uint64(b[8:])
	a.mu.Lock()
	a.got = append(a.got, arrival{from, n, time.Now(), binary.BigEndian.Uint64(b[len(b)-8:]) == n})
	echo := a.echo && b[16] == 0
	a.mu.Unlock()
	switch {
	case a.dead.Load():
	case b[0] == typeInitiation && a.keeps.Load():
		e.Send(from, [][]byte{handshakeOf(typeResponse)})
	case echo:
		e.Send(from, [][]byte{packet(n, true)})
	case a.keeps.Load() && len(b) > 32:
		a.keepalive(e, from)
	}
}

// keepalive says something within 10 s after data came.
func (a *agent) keepalive(e *Engine, to Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.idle[to] {
		return
	}
	if a.idle == nil {
		a.idle = make(map[Key]bool)
	}
	a.idle[to] = true
	time.AfterFunc(10*time.Second, func() {
		a.mu.Lock()
		a.idle[to] = false
		a.mu.Unlock()
		e.Send(to, [][]byte{append([]byte{4, 0, 0, 0}, make([]byte, 28)...)})
	})
}

// handshakeOf is a message of WireGuard's handshake.
func handshakeOf(kind byte) []byte {
	b := make([]byte, map[byte]int{typeInitiation: 148, typeResponse: 92}[kind])
	b[0] = kind
	return b
}

// send sends one numbered packet.
func (a *agent) send(to *agent, n uint64) error { return a.Send(to.key, [][]byte{packet(n, false)}) }

// stream sends a packet every so often, for a while.
func (a *agent) stream(to *agent, every, d time.Duration) {
	for n, end := uint64(0), time.Now().Add(d); time.Now().Before(end); n++ {
		a.send(to, n)
		time.Sleep(every)
	}
}

// forget drops what arrived so far.
func (a *agent) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.got = nil
}

func (a *agent) arrivals() []arrival {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]arrival(nil), a.got...)
}

// silence is the longest time without an arrival between two moments.
func (a *agent) silence(from, to time.Time) time.Duration {
	var longest time.Duration
	last := from
	for _, g := range a.arrivals() {
		if g.at.Before(from) || g.at.After(to) {
			continue
		}
		longest = max(longest, g.at.Sub(last))
		last = g.at
	}
	return max(longest, to.Sub(last))
}

func (a *agent) path(to *agent) PeerStatus { return a.Status().Peers[to.key] }

// await waits until cond holds, and returns how long that took.
func (w *world) await(what string, limit time.Duration, cond func() bool) time.Duration {
	w.t.Helper()
	start := time.Now()
	for !cond() {
		if time.Since(start) > limit {
			w.explain()
			w.t.Fatalf("%s: not after %v", what, limit)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(start)
}

// explain logs which paths are not direct, and why.
func (w *world) explain() {
	for _, a := range w.agents {
		s := a.Status()
		w.t.Logf("%s: hub %+v, local %+v", a.name, s.Hub, s.Local)
		for _, b := range w.agents {
			if p, ok := s.Peers[b.key]; ok && p.Path != ViaDirect {
				w.t.Logf("%s: path to %s: %+v", a.name, b.name, p)
			}
		}
	}
}

func (a *agent) directTo(b *agent) bool { return a.path(b).Path == ViaDirect }

func (w *world) awaitDirect(a, b *agent, limit time.Duration) time.Duration {
	w.t.Helper()
	return w.await(a.name+" and "+b.name+" direct", limit, func() bool { return a.directTo(b) && b.directTo(a) })
}
