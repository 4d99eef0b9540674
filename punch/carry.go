package punch

import (
	"cmp"
	"slices"
	"time"

	"meshd/punch/wire"
)

// maxRelays is how many peers are considered as relays at a time: the nearest.
const maxRelays = 3

// usableRelay is a peer that relays, and the route to it.
type usableRelay struct {
	m     *member
	route route
	rtt   time.Duration
}

// usable reports whether a peer can relay for us now.
func (m *member) usable() bool {
	p := m.path
	return m.flow.relays.Load() && p.healthy() && !p.cur.socket.extra()
}

// settleRelays looks which peers can relay now, and tells everyone of a change.
func (l *loop) settleRelays() {
	next := l.pickRelays()
	same := func(a, b usableRelay) bool { return a.m == b.m && a.route == b.route }
	if slices.EqualFunc(next, l.relays, same) {
		l.relays = next
		return
	}
	l.relays = next
	for _, m := range l.members.byActivity() {
		l.relaysChanged(m)
	}
}

// commonRelays are the peers that relay to which a path is kept in a mesh of any
// size: the same for all members, for a relay is of use only to two of them.
func (l *loop) commonRelays() map[*member]bool {
	var list []*member
	for _, m := range l.members.all {
		if m.flow.relays.Load() && m.Online && l.config.PrePunch >= 0 {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b *member) int { return cmp.Compare(a.Relay, b.Relay) })
	common := make(map[*member]bool)
	for _, m := range list[:min(len(list), maxRelays+1)] {
		common[m] = true
	}
	return common
}

// pickRelays lists the nearest relays. One that is in the list stays there unless
// another is twice as near, so that the list lasts. It holds one more than are
// used, for a relay is none towards itself.
func (l *loop) pickRelays() []usableRelay {
	var list []usableRelay
	for _, m := range l.members.all {
		if m.usable() {
			list = append(list, usableRelay{m, m.path.cur.route, m.path.cur.rtt.estimate()})
		}
	}
	rank := func(u usableRelay) time.Duration {
		if slices.ContainsFunc(l.relays, func(v usableRelay) bool { return v.m == u.m }) {
			return u.rtt / 2
		}
		return u.rtt
	}
	slices.SortFunc(list, func(a, b usableRelay) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), slices.Compare(a.m.Key[:], b.m.Key[:]))
	})
	list = list[:min(len(list), maxRelays+1)]
	slices.SortFunc(list, func(a, b usableRelay) int { return slices.Compare(a.m.Key[:], b.m.Key[:]) })
	return list
}

// relaysChanged tells a member's detour what can be used now, and points the
// packet path there.
func (l *loop) relaysChanged(m *member) {
	var list []relayOffer
	if m.Relay != 0 && l.hub.via != ViaNone {
		list = append(list, relayOffer{via: l.hub.via, near: l.hub.rtt})
	}
	for _, u := range l.relays {
		if m.Relay != 0 && u.m != m && len(list) <= maxRelays {
			list = append(list, relayOffer{u.m.Key, ViaRelay, u.rtt})
		}
	}
	l.stepDetour(m, relaysChanged{list})
	l.point(m)
}

// stepDetour gives an event to a member's detour and does what it says.
func (l *loop) stepDetour(m *member, ev detourEvent) {
	if m.plain != nil {
		return // it has no session with any relay
	}
	before := m.detour.cur
	told := l.relayOf(m)
	for _, a := range m.detour.step(time.Now(), ev) {
		switch a := a.(type) {
		case pingBy:
			l.sendDetour(m, a.key, &wire.Message{Type: wire.Ping, Flags: wire.FlagRelayed, TxID: a.txid})
		case takeDetour:
			l.point(m)
		case doubtHub:
			l.hub.kick(time.Now())
		}
	}
	if before != nil && m.detour.cur != nil && m.detour.cur != before {
		l.log.Info("relay changed", "peer", m.Name, "from", l.relayName(before), "to", l.relayName(m.detour.cur), "reason", m.detour.reason)
		l.noteChange()
	}
	if l.relayOf(m).via != told.via {
		l.step(m, l.relayOf(m))
	}
}

// relayName is what to call a relay in logs.
func (l *loop) relayName(c *carrier) string {
	switch {
	case c == nil:
		return "none"
	case c.key == Key{}:
		return "hub"
	}
	if m := l.members.all[c.key]; m != nil {
		return m.Name
	}
	return "a peer that left"
}

// relayOf is what a member's path should know of its relay.
func (l *loop) relayOf(m *member) relayChanged {
	c := m.detour.cur
	if c == nil {
		return relayChanged{}
	}
	return relayChanged{c.via, c.near}
}

// relayLeg leads to a member by what its detour chose; nil: there is no way.
func (l *loop) relayLeg(m *member) *relayLeg {
	c := m.detour.choice(time.Now())
	if c.via == ViaNone {
		return nil
	}
	leg := l.legBy(m, c.key)
	if leg == nil {
		return nil
	}
	leg.singly = m.singly(bundledWay{sizedWay{relay: c.key}, c.via})
	if c.also {
		if leg.also = l.legBy(m, c.next); leg.also != nil {
			leg.also.singly = true // only the one in use is tested
		}
	}
	return leg
}

// legBy leads to a member by one relay, by the hub for a zero key; nil: there is
// no way.
func (l *loop) legBy(m *member, by Key) *relayLeg {
	if by == (Key{}) {
		return l.hub.leg(m.Relay)
	}
	i := slices.IndexFunc(l.relays, func(u usableRelay) bool { return u.m.Key == by })
	if i < 0 {
		return nil
	}
	r := l.relays[i].route
	leg := newRelayLeg(wire.Header{Type: wire.Forward, ID: wire.PairID(l.hub.relay.ID, m.Relay)})
	leg.socket, leg.addr = l.socket(r.socket), r.addr
	return leg
}

// sendByRelay sends a sealed probe of a path. A PONG takes the relay by which its
// PING came. A CONNECT takes all relays while nobody knows which of them works: it
// is what everything else waits for.
func (l *loop) sendByRelay(m *member, a sendProbe, b []byte) {
	switch {
	case a.flags&wire.FlagSize != 0 && a.typ == wire.Ping: // of one relay, not of two
		if c := m.detour.cur; c != nil {
			if leg := l.legBy(m, c.key); leg != nil {
				leg.sendProbe(b)
			}
		}
		return
	case a.typ == wire.Pong:
		if leg := l.legBy(m, m.by); leg != nil {
			leg.sendProbe(b)
			return
		}
	case a.typ == wire.Connect && len(m.detour.relays) > 1 && !m.detour.cur.answered(time.Now()):
		for _, c := range m.detour.relays {
			if leg := l.legBy(m, c.key); leg != nil {
				leg.sendProbe(b)
			}
		}
		return
	}
	if leg := l.relayLeg(m); leg != nil {
		leg.sendProbe(b)
	}
}

// takeDetour takes a probe that measures a relay, and reports whether it was one.
func (l *loop) takeDetour(m *member, msg *wire.Message) bool {
	if msg.Flags&wire.FlagDetour == 0 {
		return false
	}
	switch msg.Type {
	case wire.Ping:
		l.sendDetour(m, m.by, &wire.Message{Type: wire.Pong, Flags: wire.FlagRelayed, TxID: msg.TxID, Sent: msg.Sent, Size: msg.Size})
	case wire.Pong:
		l.stepDetour(m, measured{msg.TxID})
	}
	return true
}

// sendDetour seals a probe that measures a relay, and sends it by that.
func (l *loop) sendDetour(m *member, by Key, msg *wire.Message) {
	leg := l.legBy(m, by)
	if leg == nil {
		return
	}
	m.seq++
	msg.Flags |= wire.FlagDetour
	msg.Boot, msg.Seq, msg.Generation = l.boot, m.seq, l.local.generation
	if msg.Type == wire.Ping {
		msg.Size, msg.Sent = wire.ProbeSize, uint64(time.Now().UnixNano())
	}
	b, err := m.pair.Seal(nil, m.sendTag, msg)
	if err != nil {
		l.log.Error("cannot seal a probe", "peer", m.Name, "err", err)
		return
	}
	leg.sendProbe(b)
}
