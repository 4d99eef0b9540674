package punch

import (
	"net/netip"
	"time"

	"meshd/punch/wire"
)

// The first message of a first handshake goes to a peer in an envelope, which is the
// header of relayed data, though it goes straight.
//
//	engine ─ header ─ initiation ──► peer's port ──► its engine ─ initiation ──► its WireGuard
//
// A kernel's WireGuard takes its packets from the port before anyone sees them, an
// initiation that crosses one of its own, too, and the rule that decides between the
// two (see crossed) would have no say. What is in an envelope is none of its packets.
// Once there is a session, no harm comes from two that cross: initiations go bare.

// envelope is the header for initiations between two members; nil: one has no number.
func envelope(self, peer wire.RelayID) []byte {
	if self == 0 || peer == 0 {
		return nil
	}
	return wire.AppendHeader(nil, wire.Header{Type: wire.Data, ID: wire.PairID(self, peer)})
}

// write sends packets by the direct route of a way.
func (f *flow) write(w *way, bufs [][]byte) error {
	if is(bufs[0], typeInitiation) && w.envelope != nil && !f.session(time.Now()) {
		return w.direct.WriteHeaded(w.envelope, bufs, w.addr)
	}
	return w.write(bufs)
}

// enveloped reports whether data with a relay's header came from its sender itself,
// and is what goes in envelopes. A sender whose address is not known yet is looked
// for once more by the engine, see introduce.
func (s *sorter) enveloped(h wire.Header, payload []byte, from netip.AddrPort) bool {
	if h.Type != wire.Data || !wire.IsWireGuard(payload) || !is(payload, typeInitiation) {
		return false
	}
	f := s.t.farEnd(h)
	return f != nil && from != s.t.relay && (s.t.addrs[from] == nil || s.t.addrs[from] == f)
}
