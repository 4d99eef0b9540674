package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

const (
	subprotocol = "meshd.relay.v1"
	// pingEvery is how long a WebSocket may be silent before its other end is
	// asked, and how long that may take to answer. A dead one is noticed after
	// three times that at the latest.
	pingEvery = 8 * time.Second
)

// stream is one end of a relay WebSocket.
type stream struct {
	conn    *websocket.Conn
	queue   *queue
	heard   *atomic.Bool // something came since the last look
	message bytes.Buffer // the message read last
	split   [][]byte     // its datagrams

	ctx    context.Context // ends with the stream
	cancel context.CancelFunc
}

// newStream makes a stream of conn. Pings received have to set heard.
func newStream(conn *websocket.Conn, heard *atomic.Bool) *stream {
	conn.SetReadLimit(maxMessage)
	s := &stream{conn: conn, queue: newQueue(), heard: heard}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// run writes and pings until the stream is closed or one of both fails. It leaves
// the stream closed.
func (s *stream) run() {
	var group sync.WaitGroup
	group.Go(func() { defer s.close(); s.write() })
	group.Go(func() { defer s.close(); s.ping() })
	group.Wait()
}

func (s *stream) write() {
	var message []byte // grows as needed: most streams never carry much
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.queue.wake:
		}
		for message = s.queue.take(message[:0]); len(message) > 0; message = s.queue.take(message[:0]) {
			// Ended by close: a context here would cost a timer for every message.
			if s.conn.Write(context.Background(), websocket.MessageBinary, message) != nil {
				return
			}
		}
	}
}

func (s *stream) ping() {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		if s.heard.Swap(false) {
			continue
		}
		ctx, cancel := context.WithTimeout(s.ctx, pingEvery)
		err := s.conn.Ping(ctx)
		cancel()
		if err != nil {
			return
		}
	}
}

// next waits for a message and returns its datagrams, good until the next call.
func (s *stream) next() ([][]byte, error) {
	kind, r, err := s.conn.Reader(context.Background()) // ended by close
	if err != nil {
		return nil, err
	}
	s.message.Reset()
	if _, err := s.message.ReadFrom(r); err != nil {
		return nil, fmt.Errorf("read websocket message: %w", err)
	}
	s.heard.Store(true)
	var ok bool
	if s.split, ok = splitMessage(s.split[:0], s.message.Bytes()); !ok || kind != websocket.MessageBinary {
		return nil, errors.New("read websocket message: not a batch of datagrams")
	}
	return s.split, nil
}

// send implements pipe.
func (s *stream) send(datagrams ...[]byte) (lost int) { return s.queue.push(datagrams) }

// close implements pipe. It ends run and next.
func (s *stream) close() {
	s.cancel()
	s.conn.CloseNow()
}
