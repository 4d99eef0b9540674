package relay

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"meshd/punch/udp"
	"meshd/punch/wire"
)

// expireEvery is how often idle sessions are looked for.
const expireEvery = 5 * time.Second

// ServerConfig says what a server serves. UDP and Directory are needed.
type ServerConfig struct {
	// UDP are the addresses to listen on: two ports at least for NAT behaviour to
	// be told by STUN, better two ports on each of two addresses. A session lives
	// on whichever of them the member chose.
	UDP []netip.AddrPort
	// Directory knows the members.
	Directory Directory
	// Observed is told of a member's address when it binds a session, when that
	// changes, and (zero address) when it has no session any more. UDP counts
	// before a WebSocket: one that comes or goes beside a UDP session is no news.
	// It is called in order and with a lock held: it must neither block nor call
	// the server. Nil means that nobody wants to know.
	Observed func(id wire.RelayID, addr netip.AddrPort, via Via)
	// Initiation hears WireGuard handshake initiations that come to the sockets,
	// from where. Nothing of b may be kept. It is called on the packet path, by
	// several goroutines. Nil means that nobody wants to know; none is answered.
	Initiation func(from netip.AddrPort, b []byte)
	// Log gets a line for what its owner might act upon; nil is for nobody.
	Log *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Server is a relay. Make it with [NewServer]; its methods may be called from
// any goroutine.
type Server struct {
	conns    []*udp.Conn
	handler  *handler
	counters counters
	log      *slog.Logger
	now      func() time.Time

	mu      sync.Mutex // guards following
	closed  bool
	streams map[*stream]bool
	serving sync.WaitGroup // calls of ServeWebSocket
}

// NewServer binds the sockets and starts nothing. Its error names the address
// that is not to be had; then no socket stays bound.
func NewServer(c ServerConfig) (*Server, error) {
	if len(c.UDP) == 0 || c.Directory == nil {
		return nil, errors.New("relay server: no UDP address or no directory given")
	}
	s := &Server{log: c.Log, now: c.Now, streams: map[*stream]bool{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	for _, addr := range c.UDP {
		conn, err := udp.Listen(udp.Config{Addr: addr, Whole: true})
		if err != nil {
			s.Close()
			return nil, err
		}
		s.conns = append(s.conns, conn)
	}
	epoch := 1 + uint16(rand.N(1<<16-1)) // zero is for who doesn't know it
	s.handler = newHandler(c, epoch, s.Addrs())
	return s, nil
}

// Addrs returns the addresses of the sockets as they are bound, in the order of
// ServerConfig.UDP.
func (s *Server) Addrs() []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, c := range s.conns {
		addrs = append(addrs, c.LocalAddr())
	}
	return addrs
}

// Run serves until ctx ends, then closes everything and returns nil. Otherwise
// it returns the error of the socket that failed. It is called once.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	for i := range s.conns {
		group.Go(func() error { return s.serveUDP(i) })
	}
	group.Go(func() error { s.expire(ctx); return nil })
	err := group.Wait()
	s.Close()
	s.serving.Wait()
	return err
}

// Close closes all sockets and WebSockets. Only a server that is not run needs
// it; Run calls it by itself.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	var streams []*stream
	for st := range s.streams {
		streams = append(streams, st)
	}
	s.mu.Unlock()
	for _, st := range streams {
		st.close()
	}
	var errs []error
	for _, c := range s.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// expire ends idle sessions until ctx ends.
func (s *Server) expire(ctx context.Context) {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.handler.expire(s.now())
		}
	}
}

// Drop ends all sessions of a member, of one that was deleted for instance. It
// is the Directory's business that it can't bind another.
func (s *Server) Drop(id wire.RelayID) {
	if p := s.handler.remove(id); p != nil {
		p.close()
	}
}

// Stats returns what the server has done so far.
func (s *Server) Stats() Stats {
	stats := s.counters.stats()
	stats.UDP, stats.WebSockets = s.handler.count()
	return stats
}
