package coordinator

import (
	"net/netip"
	"sync"

	"meshd/punch/relay"
	"meshd/punch/wire"
)

// observations carries what the relay sees to the coordinator's goroutine. The
// relay must not wait, so only the last word about each member is kept.
type observations struct {
	wake chan struct{} // one token: something is there

	mu      sync.Mutex // guards following
	pending map[MemberID]Observe
}

func newObservations() *observations {
	return &observations{wake: make(chan struct{}, 1), pending: map[MemberID]Observe{}}
}

// put has the signature of relay.ServerConfig.Observed.
func (o *observations) put(id wire.RelayID, addr netip.AddrPort, via relay.Via) {
	o.mu.Lock()
	o.pending[MemberID(id)] = Observe{ID: MemberID(id), Addr: addr, Via: via.String()}
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take returns what has come since the last time.
func (o *observations) take() map[MemberID]Observe {
	o.mu.Lock()
	defer o.mu.Unlock()
	taken := o.pending
	o.pending = map[MemberID]Observe{}
	return taken
}
