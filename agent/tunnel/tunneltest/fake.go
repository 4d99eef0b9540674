// Package tunneltest has a tunnel without WireGuard, for tests of the agent.
//
// It needs no root and makes no interface. It records what it is told, and
// empties the transport as a device would, so that a transport which takes its
// own messages out of what is received (punch's engine) works beneath it.
package tunneltest

import (
	"slices"
	"sync"

	"meshd/agent/tunnel"
	"meshd/agent/tunnel/filter"
)

// Fake is a tunnel.Tunnel that carries nothing. The zero value is not usable;
// see [New].
type Fake struct {
	Config tunnel.Config // as given to New

	receivers sync.WaitGroup
	ended     chan struct{}
	end       func() // closes ended, once

	mu       sync.Mutex // guards following
	sets     [][]tunnel.Peer
	keys     []tunnel.PrivateKey
	inbound  filter.Rules
	received map[tunnel.Key]int
	fail     error
}

var _ tunnel.Tunnel = (*Fake)(nil)

// New makes a fake that reads c.Transport (unless nil) until Close. It fits an
// agent's NewTunnel hook through a closure that keeps the result.
func New(c tunnel.Config) *Fake {
	f := &Fake{Config: c, ended: make(chan struct{}), received: make(map[tunnel.Key]int), inbound: c.Inbound}
	f.end = sync.OnceFunc(func() { close(f.ended) })
	f.keys = append(f.keys, c.PrivateKey)
	if c.Transport != nil {
		for _, r := range c.Transport.Receivers() {
			f.receivers.Go(func() { f.drain(r, c.Transport.BatchSize()) })
		}
	}
	return f
}

// drain reads packets and counts them by sender until the transport is closed.
func (f *Fake) drain(r func([][]byte, []int, []tunnel.Key) (int, error), batch int) {
	bufs, sizes, peers := make([][]byte, batch), make([]int, batch), make([]tunnel.Key, batch)
	for i := range bufs {
		bufs[i] = make([]byte, 65535)
	}
	for {
		n, err := r(bufs, sizes, peers)
		if err != nil {
			return
		}
		f.mu.Lock()
		for i := range n {
			if sizes[i] > 0 {
				f.received[peers[i]]++
			}
		}
		f.mu.Unlock()
	}
}

// Name is the name that was asked for.
func (f *Fake) Name() string { return f.Config.Interface }

// Backend is "fake".
func (f *Fake) Backend() string { return "fake" }

// SetPeers records the set, or returns what Fail was given.
func (f *Fake) SetPeers(peers []tunnel.Peer) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	f.sets = append(f.sets, slices.Clone(peers))
	return nil
}

// SetPrivateKey records the key.
func (f *Fake) SetPrivateKey(k tunnel.PrivateKey) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys = append(f.keys, k)
	return f.fail
}

// SetInbound records the rules, or returns what Fail was given.
func (f *Fake) SetInbound(rules filter.Rules) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inbound = rules
	return f.fail
}

// Inbound returns the rules in use.
func (f *Fake) Inbound() filter.Rules {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.inbound
}

// Stats returns none: nothing passes a fake.
func (f *Fake) Stats() (map[tunnel.Key]tunnel.Stats, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return nil, f.fail
}

// Wait returns a channel that Close and Die close.
func (f *Fake) Wait() <-chan struct{} { return f.ended }

// Close closes the transport and returns when its receivers have ended.
func (f *Fake) Close() error {
	f.end()
	if f.Config.Transport == nil {
		return nil
	}
	err := f.Config.Transport.Close()
	f.receivers.Wait()
	return err
}

// Die lets Wait return as if somebody had deleted the interface.
func (f *Fake) Die() { f.end() }

// Fail makes the other methods fail with err from now on; nil ends that.
func (f *Fake) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

// Sets returns every set of peers so far, oldest first.
func (f *Fake) Sets() [][]tunnel.Peer {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sets)
}

// Peers returns the last set of peers; nil before the first.
func (f *Fake) Peers() []tunnel.Peer {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.sets) == 0 {
		return nil
	}
	return slices.Clone(f.sets[len(f.sets)-1])
}

// PrivateKey returns the key in use.
func (f *Fake) PrivateKey() tunnel.PrivateKey {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.keys[len(f.keys)-1]
}

// Received returns how many packets came from a peer.
func (f *Fake) Received(k tunnel.Key) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.received[k]
}
