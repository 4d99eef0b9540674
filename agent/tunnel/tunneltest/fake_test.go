package tunneltest

import (
	"errors"
	"net"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"meshd/agent/tunnel"
)

// queue is a transport that passes what is put into it.
type queue struct {
	in   chan tunnel.Key // a packet from whom
	end  chan struct{}
	once sync.Once
}

func (q *queue) Receivers() []func([][]byte, []int, []tunnel.Key) (int, error) {
	return []func([][]byte, []int, []tunnel.Key) (int, error){func(_ [][]byte, sizes []int, peers []tunnel.Key) (int, error) {
		select {
		case <-q.end:
			return 0, net.ErrClosed
		case k := <-q.in:
			sizes[0], peers[0] = 100, k
			return 1, nil
		}
	}}
}
func (q *queue) Send(tunnel.Key, [][]byte) error { return nil }
func (q *queue) BatchSize() int                  { return 1 }
func (q *queue) Close() error                    { q.once.Do(func() { close(q.end) }); return nil }

func TestFake(t *testing.T) {
	defer goleak.VerifyNone(t)
	q := &queue{in: make(chan tunnel.Key), end: make(chan struct{})}
	f := New(tunnel.Config{Interface: "meshd0", PrivateKey: tunnel.PrivateKey{1}, Transport: q})
	peer := tunnel.Key{7}
	if f.Peers() != nil {
		t.Errorf("peers before the first set: %v", f.Peers())
	}
	for _, set := range [][]tunnel.Peer{{{Key: peer}}, {}} {
		if err := f.SetPeers(set); err != nil {
			t.Fatal(err)
		}
	}
	if sets := f.Sets(); len(sets) != 2 || sets[0][0].Key != peer || len(f.Peers()) != 0 {
		t.Errorf("sets: %v", sets)
	}
	q.in <- peer
	q.in <- peer // the first was counted before this one was taken
	if n := f.Received(peer); n < 1 {
		t.Errorf("received %d packets", n)
	}
	broken := errors.New("broken")
	f.Fail(broken)
	if err := f.SetPeers(nil); !errors.Is(err, broken) {
		t.Errorf("set peers: %v", err)
	}
	f.Die()
	<-f.Wait()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
