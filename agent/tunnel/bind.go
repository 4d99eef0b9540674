package tunnel

import (
	"slices"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/conn"
)

// bind is the device's conn.Bind over a Transport. It is opened once: the
// device is up for as long as it lives.
type bind struct {
	transport Transport
	peers     table
	opened    atomic.Bool
	made      func(Key) // told of a peer that was just made and does not run yet; nil: nobody is
}

var _ conn.Bind = (*bind)(nil)

// Open returns the transport's receivers. The port is the transport's own
// affair, so the one asked for is returned as it came.
func (b *bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	if b.opened.Swap(true) {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	var fns []conn.ReceiveFunc
	for _, r := range b.transport.Receivers() {
		fns = append(fns, b.receiver(r))
	}
	return fns, port, nil
}

// Close closes the transport, if Open was called: the device closes its bind
// once before it opens it.
func (b *bind) Close() error {
	if !b.opened.Load() {
		return nil
	}
	return b.transport.Close()
}

// receiver names the senders of what r receives by their endpoints. A batch is
// mostly of one peer, so the last answer is remembered.
func (b *bind) receiver(r func([][]byte, []int, []Key) (int, error)) conn.ReceiveFunc {
	peers := make([]Key, b.BatchSize())
	return func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		n, err := r(bufs, sizes, peers[:len(bufs)])
		if err != nil {
			return 0, err
		}
		known, last := b.peers.load(), stranger
		for i := range n {
			if peers[i] != last.key {
				last = find(known, peers[i])
			}
			eps[i] = last
		}
		return n, nil
	}
}

func find(known map[Key]*endpoint, k Key) *endpoint {
	if e, ok := known[k]; ok {
		return e
	}
	return stranger
}

// Send hands bufs to the transport, in as many calls as its batch size makes
// of them: the device's batches are the TUN's. There is no way to a stranger.
func (b *bind) Send(bufs [][]byte, ep conn.Endpoint) error {
	e, ok := ep.(*endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	if e == stranger {
		return nil
	}
	for batch := range slices.Chunk(bufs, b.BatchSize()) {
		if err := b.transport.Send(e.key, batch); err != nil {
			return err
		}
	}
	return nil
}

// SetMark does nothing: the transport owns the sockets and their marks.
func (b *bind) SetMark(uint32) error { return nil }

// ParseEndpoint takes the key of a peer in hex. The device asks when it makes the
// peer, and not again, as writePeer says an endpoint only then.
func (b *bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	e, err := b.peers.parse(s)
	if err != nil {
		return nil, err
	}
	if b.made != nil {
		b.made(e.key)
	}
	return e, nil
}

// BatchSize is the transport's, and the most that receivers are asked for.
func (b *bind) BatchSize() int { return b.transport.BatchSize() }
