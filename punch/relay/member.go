package relay

import (
	"net/netip"
	"time"

	"meshd/punch/wire"
)

// attach makes p the WebSocket of id. It returns the one it replaces, if any.
func (h *handler) attach(id wire.RelayID, p pipe, source netip.AddrPort) pipe {
	h.mu.Lock()
	defer h.mu.Unlock()
	old, changes := h.table.attach(id, p, source)
	h.tell(changes)
	h.forget(id)
	return old
}

// detach ends the WebSocket session of id, unless p has been replaced.
func (h *handler) detach(id wire.RelayID, p pipe) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tell(h.table.detach(id, p))
}

// remove ends both sessions of id. It returns its WebSocket, if any.
func (h *handler) remove(id wire.RelayID) pipe {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, changes := h.table.remove(id)
	h.forget(id)
	h.tell(changes)
	return p
}

func (h *handler) expire(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tell(h.table.expire(now))
}

// tell is called with the lock held: so the owner hears changes in the order in
// which they were made.
func (h *handler) tell(changes []change) {
	for _, c := range changes {
		h.forget(c.id)
		if h.observed != nil {
			h.observed(c.id, c.addr, c.via)
		}
	}
}

// forget has no one else forward for a member by what was known of it.
func (h *handler) forget(id wire.RelayID) {
	if h.moved != nil {
		h.moved(id)
	}
}

// count returns how many sessions there are.
func (h *handler) count() (udp, pipes int) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, s := range h.table.byID {
		if s.ws != nil {
			pipes++
		}
	}
	return len(h.table.byLeg), pipes
}
