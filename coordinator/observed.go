package coordinator

import (
	"net/netip"
	"sync"

	"meshd/punch/relay"
	"meshd/punch/wire"
)

// observations carries what is seen at the UDP ports to the coordinator's
// goroutine. The packet path must not wait, so only the last word about each
// member is kept.
type observations struct {
	wake chan struct{} // one token: something is there

	mu      sync.Mutex // guards following
	pending map[MemberID]Event
}

func newObservations() *observations {
	return &observations{wake: make(chan struct{}, 1), pending: map[MemberID]Event{}}
}

// put has the signature of relay.ServerConfig.Observed.
func (o *observations) put(id wire.RelayID, addr netip.AddrPort, via relay.Via) {
	o.note(MemberID(id), Observe{ID: MemberID(id), Addr: addr, Via: via.String()})
}

// heard notes where a plain member shook hands from.
func (o *observations) heard(id MemberID, addr netip.AddrPort) {
	o.note(id, Handshake{ID: id, Addr: addr})
}

func (o *observations) note(id MemberID, e Event) {
	o.mu.Lock()
	o.pending[id] = e
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take returns what has come since the last time.
func (o *observations) take() map[MemberID]Event {
	o.mu.Lock()
	defer o.mu.Unlock()
	taken := o.pending
	o.pending = map[MemberID]Event{}
	return taken
}
