package punch

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

// Engine finds and keeps a path to each peer, and moves its packets over it.
// All methods are safe for concurrent use.
type Engine struct {
	config Config
	mux    *mux

	// What was asked for and not yet taken in; the latest wins.
	peers  atomic.Pointer[[]Peer]
	relay  atomic.Pointer[Relay]
	mapped atomic.Pointer[[]netip.AddrPort]
	link   atomic.Bool

	relaying atomic.Pointer[Relaying]
	rate     atomic.Pointer[int] // of birthday searches

	asks    chan func(*loop)
	wants   chan Key
	running atomic.Bool
	offset  atomic.Int64 // nanoseconds to add to the host's clock
	changed chan struct{}
}

// New binds the sockets. It fails when the port is taken, and starts nothing.
func New(config Config) (*Engine, error) {
	config, err := config.normal()
	if err != nil {
		return nil, err
	}
	sockets, err := config.listen()
	if err != nil {
		return nil, err
	}
	e := &Engine{
		config:  config,
		mux:     newMux(sockets),
		asks:    make(chan func(*loop)),
		wants:   make(chan Key, wantsSize),
		changed: make(chan struct{}, 1),
	}
	e.mux.relayRate = config.RelayRate
	e.offset.Store(int64(config.ClockOffset))
	e.relay.Store(&config.Relay)
	e.relaying.Store(&Relaying{config.Offer, config.HubOnly})
	return e, nil
}

func portTaken(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

// Run keeps paths until ctx ends; then it closes the sockets and returns nil.
// It must be called once.
func (e *Engine) Run(ctx context.Context) error {
	defer e.Close()
	l, err := newLoop(e)
	if err != nil {
		return err
	}
	e.running.Store(true)
	return l.run(ctx)
}

// SetPeers says who there is. Paths to those that stay are kept.
func (e *Engine) SetPeers(peers []Peer) {
	e.peers.Store(&peers)
	e.mux.nudge()
}

// SetRelay says which relay to use; the zero Relay ends the session.
func (e *Engine) SetRelay(r Relay) {
	e.relay.Store(&r)
	e.mux.nudge()
}

// LinkChanged says that addresses or routes of this host changed, or that it
// slept.
func (e *Engine) LinkChanged() {
	e.link.Store(true)
	e.mux.nudge()
}

// Want says that a peer asks where we are, in order to reach us: it is punched
// toward at once. It never blocks; of very many at a time, some go unheard.
func (e *Engine) Want(peer Key) {
	select {
	case e.wants <- peer:
	default:
	}
}

// Receivers returns functions that wait for packets, one for each source. Each
// fills bufs, sizes and the senders, and returns how many it used; a size of 0
// is to be skipped, a zero key is a sender not known by its address. After
// [Engine.Close] they return net.ErrClosed. Each function is for one goroutine.
func (e *Engine) Receivers() []func(bufs [][]byte, sizes []int, peers []Key) (int, error) {
	return e.mux.receivers()
}

// Views returns functions like those of [Engine.Receivers], to be used instead of
// them, that lend packets in the engine's own buffers: no copies. What one returned
// is good until its next call, and the borrower may write over it.
func (e *Engine) Views() []func(packets [][]byte, peers []Key) (int, error) {
	return e.mux.views()
}

// Send hands WireGuard packets for a peer to the best path there is. It never
// waits for one.
func (e *Engine) Send(peer Key, bufs [][]byte) error { return e.mux.send(peer, bufs) }

// BatchSize is how many packets Send and the receivers take best at a time.
func (e *Engine) BatchSize() int {
	n := 1
	for _, s := range e.mux.sockets {
		if s != nil {
			n = max(n, s.BatchSize())
		}
	}
	return n
}

// Port returns the UDP port both sockets are bound to.
func (e *Engine) Port() uint16 {
	for _, s := range e.mux.sockets {
		if s != nil {
			return s.LocalAddr().Port()
		}
	}
	return 0
}

// Close closes the sockets: receivers end, and Run does. It may be called more
// than once.
func (e *Engine) Close() error {
	e.mux.close()
	return nil
}

// ClockOffset is what to add to this host's clock to have the relay's.
func (e *Engine) ClockOffset() time.Duration { return time.Duration(e.offset.Load()) }

// Changed has something to read when the status changed in a way a person
// would notice. It is for one reader.
func (e *Engine) Changed() <-chan struct{} { return e.changed }

func (e *Engine) noteChange() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// Status tells how things stand. Before Run it is empty.
func (e *Engine) Status() Status {
	var s Status
	e.ask(context.Background(), func(l *loop) { s = l.status() })
	return s
}

// ask has the loop call f, and waits for it. It reports whether f was called.
func (e *Engine) ask(ctx context.Context, f func(*loop)) bool {
	if !e.running.Load() {
		return false
	}
	done := make(chan struct{})
	select {
	case e.asks <- func(l *loop) { f(l); close(done) }:
	case <-e.mux.done:
		return false
	case <-ctx.Done():
		return false
	}
	<-done
	return true
}

// stopped is why the loop did not answer.
func (e *Engine) stopped(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return net.ErrClosed
}
