package relay

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"meshd/punch/relay/inkernel"
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
	// Sockets is how many sockets share each address, with a reader each: the kernel
	// gives every source to one of them. 0: one for two processors, four at most; it
	// is one where the system can't share.
	Sockets int
	// Directory knows the members.
	Directory Directory
	// Rate is how many bytes a second each member may have forwarded in the long
	// run; 0 means as many as there are.
	Rate float64
	// Offload has the kernel forward busy flows where it can: Linux 6.6, with CAP_BPF
	// and CAP_NET_ADMIN.
	Offload bool
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
	conns     [][]*udp.Conn // by address, by reader
	handler   *handler
	offload   string     // what became of ServerConfig.Offload
	offloader *offloader // nil: all is forwarded here
	counters  counters
	log       *slog.Logger
	now       func() time.Time

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
		conns, err := listen(addr, c.sockets())
		s.conns = append(s.conns, conns)
		if err != nil {
			s.Close()
			return nil, err
		}
	}
	epoch := 1 + uint16(rand.N(1<<16-1)) // zero is for who doesn't know it
	s.handler = newHandler(c, epoch, s.Addrs())
	s.startOffload(c)
	return s, nil
}

// startOffload loads what the kernel forwards by. Without it everything goes by user
// space, more slowly.
func (s *Server) startOffload(c ServerConfig) {
	s.offload = "off"
	if !c.Offload {
		return
	}
	table, err := inkernel.New()
	if err != nil {
		s.offload = "not to be had: " + err.Error()
		s.log.Info("the relay forwards in user space alone", "err", err)
		return
	}
	s.offload = "on"
	s.offloader = newOffloader(s.handler, s.Addrs(), table, s.log)
	s.handler.moved = s.offloader.forget
}

// maxSockets bounds the sockets that share an address by default.
const maxSockets = 4

func (c ServerConfig) sockets() int {
	if c.Sockets != 0 {
		return c.Sockets
	}
	return min(maxSockets, max(1, runtime.GOMAXPROCS(0)/2))
}

// listen binds n sockets to one address, one where sharing is not possible. On
// error it returns those that it bound.
func listen(addr netip.AddrPort, n int) ([]*udp.Conn, error) {
	// The first one does not share: so another program's port is not shared either.
	alone, err := udp.Listen(udp.Config{Addr: addr, Whole: true})
	if err != nil {
		return nil, err
	}
	if n == 1 || runtime.GOOS != "linux" {
		return []*udp.Conn{alone}, nil
	}
	addr = alone.LocalAddr()
	alone.Close()
	var conns []*udp.Conn
	for range n {
		conn, err := udp.Listen(udp.Config{Addr: addr, Whole: true, ReusePort: true})
		if err != nil {
			return conns, err
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

// Addrs returns the addresses of the sockets as they are bound, in the order of
// ServerConfig.UDP.
func (s *Server) Addrs() []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, shared := range s.conns {
		addrs = append(addrs, shared[0].LocalAddr())
	}
	return addrs
}

// Run serves until ctx ends, then closes everything and returns nil. Otherwise
// it returns the error of the socket that failed. It is called once.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	for socket, shared := range s.conns {
		for reader := range shared {
			group.Go(func() error { return s.serveUDP(socket, reader) })
		}
	}
	group.Go(func() error { s.expire(ctx); return nil })
	if s.offloader != nil {
		group.Go(func() error { s.offloader.run(ctx, s.now); return nil })
	}
	err := group.Wait()
	s.Close()
	s.serving.Wait()
	return err
}

// Close closes all sockets and WebSockets. Only a server that is not run needs
// it; Run calls it by itself.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.offloader != nil && !s.closed {
		s.offloader.close()
	}
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
	for _, shared := range s.conns {
		for _, c := range shared {
			errs = append(errs, c.Close())
		}
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
	stats.Offload = s.offload
	if s.offloader != nil {
		stats.addKernel(s.offloader.count())
	}
	return stats
}
