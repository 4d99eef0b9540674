package dnssd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// ServerConfig says what a server answers, to whom, and where.
type ServerConfig struct {
	Zone *Zone
	// Sockets, of any number; they are the server's from [NewServer] on. Without
	// any there is [Server.Exchange].
	UDP []net.PacketConn
	TCP []net.Listener
	// Access says what whoever asks from src may see. key is the name of the
	// member whose TSIG key signed the question; verified: the signature is good
	// and fresh. Called twice for each question, first without key: what friends
	// by address ask isn't rated. nil: everything for everyone, for sockets that
	// only friends reach.
	Access func(src netip.AddrPort, key string, verified bool) Access
	// Secret is the TSIG secret of a member, false if there is none. nil: no keys.
	Secret func(member string) (secret []byte, ok bool)
	// Publish stores what a member says of itself, and sets the zone's member
	// accordingly before it returns. Updates come one at a time. An error is
	// REFUSED to the member if it wraps [ErrRefused], else SERVFAIL. nil: no
	// updates.
	Publish func(ctx context.Context, member string, p Publication) error
	// Asked hears that somebody who may know asked from src where member is, in
	// order to reach it. asker is the member that signed or whose control
	// connection it was; empty: known by its address at most. Must not block.
	// nil: nobody cares.
	Asked func(src netip.AddrPort, asker, member string)
	// Forward answers friends' questions that are not about the zone, in wire
	// format; tcp: the answer may be of any size. nil: they are refused.
	Forward func(ctx context.Context, query []byte, tcp bool) ([]byte, error)
	// Forwards tells whether questions from src are forwarded; nil: all friends' are.
	Forwards func(src netip.Addr) bool
	Log      *slog.Logger
}

// ErrRefused is in an error of [ServerConfig.Publish] that says that the member
// may not publish this.
var ErrRefused = errors.New("update refused")

// Server answers DNS questions about a zone and takes updates of it.
type Server struct {
	ServerConfig
	limiter *limiter

	mu      sync.Mutex         // held while an update is decided and published; guards following
	replays map[string]*replay // by member
}

// NewServer makes a server. Its sockets are answered while Run does.
func NewServer(c ServerConfig) *Server {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Access == nil {
		c.Access = func(netip.AddrPort, string, bool) Access { return Full }
	}
	return &Server{ServerConfig: c, limiter: newLimiter(), replays: map[string]*replay{}}
}

// Run answers until ctx ends, or a socket fails. It closes the sockets.
func (s *Server) Run(ctx context.Context) error {
	group, running := errgroup.WithContext(ctx)
	for _, conn := range s.UDP {
		if b, ok := boundOf(conn); ok {
			group.Go(func() error { return s.serveUDP(running, b) })
			continue
		}
		s.start(running, group, &dns.Server{PacketConn: conn, UDPSize: 4096})
	}
	for _, listener := range s.TCP {
		s.start(running, group, &dns.Server{Listener: guard(listener)})
	}
	if err := group.Wait(); ctx.Err() == nil {
		return err
	}
	return nil
}

// start serves on one socket until ctx ends. A server must have started before
// it can be shut down.
func (s *Server) start(ctx context.Context, group *errgroup.Group, srv *dns.Server) {
	started := make(chan struct{})
	up := sync.OnceFunc(func() { close(started) })
	srv.NotifyStartedFunc = up
	srv.MsgAcceptFunc = accept
	srv.TsigProvider = keys(s.secrets)
	srv.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) { s.handle(ctx, w, m) })
	group.Go(func() error {
		defer up()
		return srv.ActivateAndServe()
	})
	group.Go(func() error {
		<-ctx.Done()
		<-started
		srv.Shutdown() // it fails only when it isn't running, which is what is wanted
		return nil
	})
}

// accept passes what the handler judges. Answers are not answered, so two
// servers never talk to each other.
func accept(h dns.Header) dns.MsgAcceptAction {
	const response = 1 << 15
	if h.Bits&response != 0 {
		return dns.MsgIgnore
	}
	return dns.MsgAccept
}

// buffers hold answers on their way out.
var buffers = sync.Pool{New: func() any { return new([maxUDP + 512]byte) }}

// handle answers one message of a socket. Strangers by address are rated before
// they cost anything more than their signature.
func (s *Server) handle(ctx context.Context, w dns.ResponseWriter, m *dns.Msg) {
	src := addrPort(w.RemoteAddr())
	if !s.admit(src) {
		w.Close() // a datagram's writer has nothing to close
		return
	}
	_, udp := w.RemoteAddr().(*net.UDPAddr)
	buf := buffers.Get().(*[maxUDP + 512]byte)
	defer buffers.Put(buf)
	if data := s.answer(ctx, &exchange{msg: m, src: src, udp: udp, sigErr: w.TsigStatus()}, buf[:]); data != nil {
		w.Write(data) // whoever asked is gone
	}
}

// admit reports whether to hear a message from src. Friends by address always are.
func (s *Server) admit(src netip.AddrPort) bool {
	return s.Access(src, "", false) == Full || s.limiter.allow(src.Addr(), time.Now())
}

func addrPort(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.UDPAddr:
		return unmap(a.AddrPort())
	case *net.TCPAddr:
		return unmap(a.AddrPort())
	}
	return netip.AddrPort{}
}

func unmap(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
