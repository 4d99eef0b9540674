package coordinator

import (
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/time/rate"

	"meshd/punch/wire"
)

// handshakesPerSecond bounds what reading handshakes may cost: each takes two
// multiplications on the curve. Only who knows the mesh's key, which is in the
// configuration of plain members alone, can cause any.
const handshakesPerSecond = 200

// handshakes hears plain members shake hands with the hub, in order to know where
// they are. Nothing is ever answered, so nobody can be amplified at.
type handshakes struct {
	responder *wire.Responder
	roster    *roster
	limit     *rate.Limiter
	told      func(MemberID, netip.AddrPort) // must not block

	mu   sync.Mutex // guards following
	last map[MemberID]wire.Initiation
}

func newHandshakes(key [32]byte, r *roster, told func(MemberID, netip.AddrPort)) (*handshakes, error) {
	responder, err := wire.NewResponder(key)
	return &handshakes{
		responder: responder, roster: r, told: told,
		limit: rate.NewLimiter(handshakesPerSecond, handshakesPerSecond), last: map[MemberID]wire.Initiation{},
	}, err
}

// hear has the signature of relay.ServerConfig.Initiation. A handshake that was
// recorded and is sent again from elsewhere moves nobody.
func (h *handshakes) hear(from netip.AddrPort, b []byte) {
	if !h.responder.Meant(b) || !h.limit.Allow() {
		return
	}
	i, err := h.responder.Read(b)
	if err != nil {
		return
	}
	if id, ok := h.roster.plain(i.Static); ok && h.fresh(id, i) {
		h.told(id, from)
	}
}

func (h *handshakes) fresh(id MemberID, i wire.Initiation) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	last, known := h.last[id]
	if known && last.Static == i.Static && !i.After(last) {
		return false
	}
	if !known { // a good time to forget those who are members no more
		maps.DeleteFunc(h.last, func(id MemberID, i wire.Initiation) bool {
			now, member := h.roster.plain(i.Static)
			return !member || now != id
		})
	}
	h.last[id] = i
	return true
}

// plains tells, without a lock, which plain members are behind an address. The
// coordinator's goroutine replaces the table.
type plains struct {
	table atomic.Pointer[map[netip.Addr][]MemberID]
}

// at returns the plain members that were heard from an address lately.
func (p *plains) at(a netip.Addr) []MemberID {
	if t := p.table.Load(); t != nil {
		return (*t)[a]
	}
	return nil
}

// update takes the members in anew.
func (p *plains) update(n *Network) {
	t := map[netip.Addr][]MemberID{}
	for id, m := range n.members {
		if m.Plain && m.Online && m.Active() {
			t[m.Observed.Addr()] = append(t[m.Observed.Addr()], id)
		}
	}
	p.table.Store(&t)
}
