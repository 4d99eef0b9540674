package coordinator

import (
	"context"
	"sync"
)

// MemoryStore is a [Store] without a disk, for tests. The zero value is empty
// and ready. Safe for concurrent use.
type MemoryStore struct {
	mu   sync.Mutex // guards following
	net  *Network
	fail error
}

// Fail makes every Save fail with err until it is called with nil, as a full
// disk does.
func (s *MemoryStore) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// Load implements [Store].
func (s *MemoryStore) Load(context.Context) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.net == nil {
		return State{}, nil
	}
	state := State{Settings: s.net.settings, Members: s.net.Members(), Keys: s.net.Keys()}
	for _, q := range s.net.quarantine {
		state.Quarantine = append(state.Quarantine, q)
	}
	return state, nil
}

// Save implements [Store].
func (s *MemoryStore) Save(_ context.Context, changes []Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	if s.net == nil {
		s.net = NewNetwork(State{})
	}
	s.net.Apply(changes)
	return nil
}

// Close implements [Store].
func (s *MemoryStore) Close() error { return nil }
