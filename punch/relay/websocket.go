package relay

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/coder/websocket"

	"meshd/punch/wire"
)

// ServeWebSocket upgrades the request to the WebSocket session of member id,
// whose identity the caller has verified, and blocks until the session ends: by
// the member, by a newer one of the same id, by Drop, or with the server.
func (s *Server) ServeWebSocket(w http.ResponseWriter, r *http.Request, id wire.RelayID) {
	heard := new(atomic.Bool)
	conn, err := websocket.Accept(shortBuffered{w}, r, &websocket.AcceptOptions{
		Subprotocols:   []string{subprotocol},
		OnPingReceived: func(context.Context, []byte) bool { heard.Store(true); return true },
	})
	if err != nil {
		return // the client has been told
	}
	defer conn.CloseNow()
	if conn.Subprotocol() != subprotocol {
		conn.Close(websocket.StatusPolicyViolation, "subprotocol "+subprotocol+" needed")
		return
	}
	st := newStream(conn, heard)
	if !s.enter(st) {
		conn.Close(websocket.StatusGoingAway, "relay is stopping")
		return
	}
	defer s.leave(st)
	source, _ := netip.ParseAddrPort(r.RemoteAddr)
	s.servePipe(st, id, netip.AddrPortFrom(source.Addr().Unmap(), source.Port()))
}

// servePipe runs the session until it is closed or fails.
func (s *Server) servePipe(st *stream, id wire.RelayID, source netip.AddrPort) {
	var group sync.WaitGroup
	group.Go(st.run)
	if old := s.handler.attach(id, st, source); old != nil {
		old.close()
	}
	s.log.Debug("relay session", "peer", id, "addr", source, "via", WebSocket.String())
	err := s.readPipe(st, id, source)
	s.handler.detach(id, st)
	st.close()
	group.Wait()
	s.log.Debug("relay session ended", "peer", id, "addr", source, "via", WebSocket.String(), "err", err)
}

func (s *Server) readPipe(st *stream, id wire.RelayID, source netip.AddrPort) error {
	f := &forwarder{server: s}
	for {
		datagrams, err := st.next()
		if err != nil {
			return err
		}
		now := s.now()
		for _, b := range datagrams {
			f.takePipe(now, id, source, st, b)
		}
		f.flush()
	}
}

// enter registers a stream to be closed with the server; false means that it is
// closed already.
func (s *Server) enter(st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.streams[st] = true
	s.serving.Add(1)
	return true
}

func (s *Server) leave(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, st)
	s.serving.Done()
}

// shortBuffered bounds what the kernel buffers of the connection that is
// hijacked.
type shortBuffered struct{ http.ResponseWriter }

// Hijack implements http.Hijacker.
func (w shortBuffered) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		boundUnsent(conn)
	}
	return conn, rw, err
}
