package coordinator

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"meshd/coordinator/api"
	"meshd/coordinator/api/meshd/v1/meshdv1connect"
	"meshd/punch/wire"
)

const (
	headerTimeout = 10 * time.Second // also bounds the TLS handshake
	bodyTimeout   = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	pingAfter     = 15 * time.Second
	pingTimeout   = 10 * time.Second
	maxHeader     = 16 << 10
	maxRequest    = 64 << 10 // the largest is a DNS message
	compressFrom  = 4 << 10  // full maps are worth it, deltas are encoded once for all
	stopTimeout   = 2 * time.Second
)

// controlServer is for agents: TLS with pinned keys on both sides.
func (c *Coordinator) controlServer() *http.Server {
	mux := http.NewServeMux()
	mux.Handle(meshdv1connect.NewControlServiceHandler(&controlService{c: c, attempts: newAttempts()}, c.options()...))
	mux.Handle(relayPath, c.webSocketRelay())
	mux.Handle("POST "+api.DNSPath, c.dnsQueries())
	s := c.server(api.Authenticate(withResponseControl(mux)))
	s.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout}
	s.ConnContext = withGuarded
	return s
}

// controlListener is the control port with its guard, and TLS above it.
func (c *Coordinator) controlListener() net.Listener {
	return tls.NewListener(newGuard(c.control), api.ServerTLS(c.identity))
}

// adminServer is for the owner. Who may open its socket may do everything.
func (c *Coordinator) adminServer() *http.Server {
	mux := http.NewServeMux()
	mux.Handle(meshdv1connect.NewAdminServiceHandler(&adminService{c: c}, c.options()...))
	return c.server(asOwner(mux))
}

func (c *Coordinator) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
	}
}

func (c *Coordinator) options() []connect.HandlerOption {
	return []connect.HandlerOption{
		connect.WithInterceptors(&interceptor{c}),
		connect.WithReadMaxBytes(maxRequest),
		connect.WithCompressMinBytes(compressFrom),
	}
}

// serve runs one HTTP server until ctx ends, and lets what is under way end by
// itself for a moment.
func (c *Coordinator) serve(ctx context.Context, s *http.Server, ln net.Listener) error {
	stopped := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer done()
		s.Shutdown(grace)
		s.Close()
	})
	err := s.Serve(ln)
	if !cancel() {
		<-stopped
		return nil
	}
	return err
}

// webSocketRelay lets active members relay over TCP.
func (c *Coordinator) webSocketRelay() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m, ok := c.activeCaller(w, r); ok {
			c.relay.ServeWebSocket(w, r, relayID(m.ID))
		}
	})
}

// dnsQueries answers active members' DNS messages, questions and updates, by the
// control connection (RFC 8484).
func (c *Coordinator) dnsQueries() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m, ok := c.activeCaller(w, r)
		if !ok {
			return
		}
		if got := r.Header.Get("Content-Type"); got != api.DNSMediaType {
			http.Error(w, fmt.Sprintf("content type %q is not %s", got, api.DNSMediaType), http.StatusUnsupportedMediaType)
			return
		}
		message, err := io.ReadAll(http.MaxBytesReader(w, r.Body, api.MaxDNSMessage))
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		answer, err := c.names.server.Exchange(r.Context(), m.Name, message)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", api.DNSMediaType)
		w.Write(answer) // whoever asked is gone if this fails
	})
}

// activeCaller returns the active member that makes a request, or refuses it.
func (c *Coordinator) activeCaller(w http.ResponseWriter, r *http.Request) (Member, bool) {
	m, err := c.caller(r.Context())
	if err == nil && !m.Active() {
		err = notActive(m)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
	}
	return m, err == nil
}

func relayID(id MemberID) wire.RelayID { return wire.RelayID(id) }
