package localapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"
)

// shutdownTimeout is how long answers under way may take once the daemon ends.
const shutdownTimeout = 2 * time.Second

// maxBody bounds a request; a join string is far below it.
const maxBody = 64 << 10

// Backend is the daemon behind the socket. Its methods are called from many
// goroutines at once.
type Backend interface {
	Status() Status
	// Up makes the mesh wanted. It returns when the wish was taken, not when
	// the mesh is up: Status tells that.
	Up(context.Context, UpRequest) error
	// Down returns when interface, addresses and routes are gone.
	Down(context.Context) error
	// Ping asks a peer, by name or overlay address, for one answer.
	Ping(ctx context.Context, peer string) (PingReply, error)
	// Why tells how a peer is reached, and why not directly.
	Why(ctx context.Context, peer string) (Why, error)
	// Netcheck asks the hub how this machine's network behaves.
	Netcheck(ctx context.Context, lifetime bool) (Netcheck, error)
	// DNSKey returns by what this machine may write its names at the coordinator.
	DNSKey(context.Context) (DNSKey, error)
	Services
	Tuning
}

// Server answers on the socket.
type Server struct {
	Backend Backend
	Version string
	Log     *slog.Logger
}

// Run serves ln until ctx ends, lets answers under way finish, and closes ln,
// which removes the socket's file.
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		grace, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			srv.Close()
		}
	})
	err := srv.Serve(ln)
	if stop() { // ctx has not ended: the listener broke
		return fmt.Errorf("serve %q: %v", ln.Addr(), err)
	}
	<-ended
	return nil
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /version", answer(func(*http.Request) (any, error) {
		return Version{Version: s.Version, PID: os.Getpid()}, nil
	}))
	mux.HandleFunc("GET /status", answer(func(*http.Request) (any, error) {
		return s.Backend.Status(), nil
	}))
	mux.HandleFunc("POST /up", answer(func(r *http.Request) (any, error) {
		var req UpRequest
		if err := readRequest(r, &req); err != nil {
			return nil, err
		}
		return nil, s.Backend.Up(r.Context(), req)
	}))
	mux.HandleFunc("POST /down", answer(func(r *http.Request) (any, error) {
		return nil, s.Backend.Down(r.Context())
	}))
	mux.HandleFunc("GET /ping", answer(func(r *http.Request) (any, error) {
		return s.Backend.Ping(r.Context(), r.FormValue("peer"))
	}))
	mux.HandleFunc("GET /why", answer(func(r *http.Request) (any, error) {
		return s.Backend.Why(r.Context(), r.FormValue("peer"))
	}))
	mux.HandleFunc("GET /netcheck", answer(func(r *http.Request) (any, error) {
		return s.Backend.Netcheck(r.Context(), r.FormValue("lifetime") == "yes")
	}))
	mux.HandleFunc("GET /dns/key", answer(func(r *http.Request) (any, error) {
		return s.Backend.DNSKey(r.Context())
	}))
	s.services(mux)
	s.settings(mux)
	mux.HandleFunc("/", answer(func(r *http.Request) (any, error) {
		return nil, &Error{Message: fmt.Sprintf("this daemon knows no %s %s", r.Method, r.URL.Path),
			Hint: "the daemon may be older than this command: restart it"}
	}))
	return mux
}

// answer writes what f returns: JSON, nothing (204), or an Error.
func answer(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := f(r)
		code := http.StatusOK
		switch {
		case err != nil:
			body, code = asError(err), statusOf(err)
		case body == nil:
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		json.NewEncoder(w).Encode(body) // the reader is gone if this fails
	}
}

func statusOf(err error) int {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return http.StatusGatewayTimeout
	}
	return http.StatusConflict
}
