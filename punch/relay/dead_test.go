package relay

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// memConn is one end of a connection in memory that buffers as TCP does, and
// that can be cut without either end being told.
type memConn struct {
	in, out     chan []byte
	rest        []byte // read from in, not yet returned
	gone, other chan struct{}
	close       func()
	cut         *atomic.Bool
}

func newMemConns(cut *atomic.Bool) (a, b *memConn) {
	ab, ba := make(chan []byte, 64), make(chan []byte, 64)
	goneA, goneB := make(chan struct{}), make(chan struct{})
	a = &memConn{in: ba, out: ab, gone: goneA, other: goneB, cut: cut, close: sync.OnceFunc(func() { close(goneA) })}
	b = &memConn{in: ab, out: ba, gone: goneB, other: goneA, cut: cut, close: sync.OnceFunc(func() { close(goneB) })}
	return a, b
}

func (c *memConn) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		select {
		case c.rest = <-c.in:
		case <-c.gone:
			return 0, net.ErrClosed
		case <-c.other:
			if c.cut.Load() {
				<-c.gone
			}
			return 0, io.EOF
		}
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *memConn) Write(b []byte) (int, error) {
	if c.cut.Load() {
		return len(b), nil
	}
	select {
	case c.out <- bytes.Clone(b):
		return len(b), nil
	case <-c.gone:
		return 0, net.ErrClosed
	}
}

func (c *memConn) Close() error                     { c.close(); return nil }
func (c *memConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *memConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *memConn) SetDeadline(time.Time) error      { return nil }
func (c *memConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memConn) SetWriteDeadline(time.Time) error { return nil }

// memListener serves one connection.
type memListener struct{ conns chan net.Conn }

func (l memListener) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (l memListener) Close() error   { close(l.conns); return nil }
func (l memListener) Addr() net.Addr { return &net.TCPAddr{} }

// A path that swallows everything ends a WebSocket on both sides in 30 s; one
// that is merely quiet holds for ever.
func TestDeadWebSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{now: time.Now, log: slog.New(slog.DiscardHandler), streams: map[*stream]bool{}, handler: newTestHandler(nil)}
		var cut atomic.Bool
		ours, theirs := newMemConns(&cut)
		l := memListener{make(chan net.Conn, 1)}
		l.conns <- theirs
		web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.ServeWebSocket(w, r, carol)
		})}
		go web.Serve(l)
		defer web.Close()
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return ours, nil }}
		conn, err := DialWebSocket(t.Context(), "http://relay.test/", &http.Client{Transport: transport})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ended := make(chan struct{})
		go func() {
			conn.Read()
			close(ended)
		}()

		t.Log("an hour of silence is no death")
		time.Sleep(time.Hour)
		if _, pipes := s.handler.count(); pipes != 1 {
			t.Fatal("the session has ended")
		}

		t.Log("the path is cut")
		cut.Store(true)
		died := time.Now()
		<-ended
		if got := time.Since(died); got > 30*time.Second {
			t.Errorf("the member noticed after %v", got)
		}
		s.serving.Wait()
		if got := time.Since(died); got > 30*time.Second {
			t.Errorf("the relay noticed after %v", got)
		}
	})
}
