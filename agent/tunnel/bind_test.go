package tunnel

import (
	"errors"
	"fmt"
	"testing"

	"golang.zx2c4.com/wireguard/conn"
)

// echo is a transport whose receivers return full batches at once.
type echo struct {
	batch int
	from  []Key
	sent  int
	err   error
}

func (e *echo) Receivers() []func([][]byte, []int, []Key) (int, error) {
	return []func([][]byte, []int, []Key) (int, error){func(bufs [][]byte, sizes []int, peers []Key) (int, error) {
		for i := range bufs {
			sizes[i], peers[i] = 100, e.from[i%len(e.from)]
		}
		return len(bufs), nil
	}}
}
func (e *echo) Send(_ Key, bufs [][]byte) error {
	if len(bufs) > e.batch {
		return fmt.Errorf("%d packets in one call", len(bufs))
	}
	e.sent += len(bufs)
	return e.err
}
func (e *echo) BatchSize() int { return e.batch }
func (e *echo) Close() error   { return nil }

func TestBindNamesSenders(t *testing.T) {
	a, b, unknown := Key{1}, Key{2}, Key{3}
	bd := &bind{transport: &echo{batch: 8, from: []Key{a, a, b, unknown, {}, unknown, a}}}
	bd.peers.set([]Peer{{Key: a}, {Key: b}})
	fns, port, err := bd.Open(7)
	if err != nil || port != 7 || len(fns) != 1 {
		t.Fatalf("open: %d functions, port %d, %v", len(fns), port, err)
	}
	eps, sizes := make([]conn.Endpoint, 7), make([]int, 7)
	if n, err := fns[0](make([][]byte, 7), sizes, eps); n != 7 || err != nil {
		t.Fatal(n, err)
	}
	known := bd.peers.load()
	for i, want := range []*endpoint{known[a], known[a], known[b], stranger, stranger, stranger, known[a]} {
		if eps[i] != want {
			t.Errorf("packet %d is from %v, want %v", i, eps[i], want)
		}
	}
	if _, _, err := bd.Open(7); !errors.Is(err, conn.ErrBindAlreadyOpen) {
		t.Errorf("second open: %v", err)
	}
}

func TestBindSends(t *testing.T) {
	e := &echo{batch: 8}
	bd := &bind{transport: e}
	bd.peers.set([]Peer{{Key: Key{1}}})
	ep, err := bd.ParseEndpoint(fmt.Sprintf("%x", Key{1}))
	if err != nil {
		t.Fatal(err)
	}
	if err := bd.Send(make([][]byte, 20), ep); err != nil || e.sent != 20 {
		t.Errorf("sent %d of 20: %v", e.sent, err)
	}
	if err := bd.Send(make([][]byte, 1), stranger); err != nil || e.sent != 20 {
		t.Errorf("a packet to a stranger was sent, or %v", err)
	}
	e.err = errors.New("no route")
	if err := bd.Send(make([][]byte, 1), ep); !errors.Is(err, e.err) {
		t.Errorf("got %v, want the transport's error", err)
	}
}

func TestParseEndpoint(t *testing.T) {
	var bd bind
	bd.peers.set([]Peer{{Key: Key{1}}})
	for _, s := range []string{"", "192.0.2.1:51820", fmt.Sprintf("%x", Key{2}), fmt.Sprintf("%x", Key{1})[1:], fmt.Sprintf("%x0", Key{1})} {
		if ep, err := bd.ParseEndpoint(s); err == nil {
			t.Errorf("%q is endpoint %v", s, ep)
		}
	}
}

// An endpoint must stay the same object for as long as its peer stays.
func TestEndpointsAreStable(t *testing.T) {
	var peers table
	peers.set([]Peer{{Key: Key{1}}, {Key: Key{2}}})
	before := peers.load()
	peers.set([]Peer{{Key: Key{3}}, {Key: Key{1}}})
	after := peers.load()
	if after[Key{1}] != before[Key{1}] || after[Key{2}] != nil || after[Key{3}] == nil || before[Key{3}] != nil {
		t.Errorf("before %v, after %v", before, after)
	}
}

func TestBindAllocatesNothing(t *testing.T) {
	bd := &bind{transport: &echo{batch: 8, from: []Key{{1}, {2}, {}}}}
	bd.peers.set([]Peer{{Key: Key{1}}, {Key: Key{2}}})
	fns, _, err := bd.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	bufs, sizes, eps := make([][]byte, 8), make([]int, 8), make([]conn.Endpoint, 8)
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := fns[0](bufs, sizes, eps); err != nil {
			t.Fatal(err)
		}
		if err := bd.Send(bufs, eps[0]); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a batch, want none", allocs)
	}
}
