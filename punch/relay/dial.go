package relay

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"

	"github.com/coder/websocket"
)

// WSConn is a member's WebSocket session at a relay. Send and Close may be
// called from any goroutine, Read from one at a time.
type WSConn struct {
	stream  *stream
	pending [][]byte // datagrams of the message read last, not yet returned
	done    chan struct{}
}

// DialWebSocket opens the session at url (https or wss), within ctx, by a client
// that brings TLS and proxies. Two goroutines live until Close.
func DialWebSocket(ctx context.Context, url string, hc *http.Client) (*WSConn, error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { boundUnsent(info.Conn) },
	})
	heard := new(atomic.Bool)
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient:     hc,
		Subprotocols:   []string{subprotocol},
		OnPingReceived: func(context.Context, []byte) bool { heard.Store(true); return true },
	})
	if err != nil {
		return nil, fmt.Errorf("dial relay %s: %w", url, err)
	}
	if conn.Subprotocol() != subprotocol {
		conn.CloseNow()
		return nil, fmt.Errorf("dial relay %s: it doesn't speak %s", url, subprotocol)
	}
	c := &WSConn{stream: newStream(conn, heard), done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.stream.run()
	}()
	return c, nil
}

// Read waits for a relay message, header included. It is good until the next
// call. Any error ends the session; after Close it is net.ErrClosed.
func (c *WSConn) Read() ([]byte, error) {
	for len(c.pending) == 0 {
		var err error
		if c.pending, err = c.stream.next(); err != nil {
			c.stream.close()
			return nil, fmt.Errorf("read from relay: %w", err)
		}
	}
	b := c.pending[0]
	c.pending = c.pending[1:]
	return b, nil
}

// Send queues a relay message, header included, of at most 65533 bytes; it keeps
// nothing of it. It never blocks: if the queue is full, the oldest data is lost.
func (c *WSConn) Send(datagram []byte) { c.stream.send(datagram) }

// Close ends the session and waits for its goroutines. Closing again does
// nothing.
func (c *WSConn) Close() error {
	c.stream.close()
	<-c.done
	return nil
}
