package punch

import (
	"slices"
	"time"
)

// pairGap staggers the first attempts when many peers appear: 20 pairs a second.
const pairGap = 50 * time.Millisecond

// pacer hands out turns at a fixed rate.
type pacer struct{ next time.Time }

// turn is how long to wait for the next free turn.
func (p *pacer) turn(now time.Time) time.Duration {
	if p.next.Before(now) {
		p.next = now
	}
	d := p.next.Sub(now)
	p.next = p.next.Add(pairGap)
	return d
}

// setPeers makes the members those of the list, and tells each path what is new
// for it.
func (l *loop) setPeers(list []Peer) {
	now := time.Now()
	listed := make(map[Key]bool, len(list))
	l.members.plain = slices.ContainsFunc(list, func(p Peer) bool { return p.Plain })
	for _, p := range list {
		if p.Key != l.self {
			listed[p.Key] = true
			l.setPeer(now, p)
		}
	}
	for key, m := range l.members.all {
		if !listed[key] {
			m.flow.way.Store(&way{})
			l.extras.leave(m)
			delete(l.members.all, key)
			l.log.Debug("peer removed", "peer", m.Name)
		}
	}
	l.members.tags = nil
	l.members.keepTags(hour(now.Add(l.ClockOffset())))
	l.publish()
	l.rewarm()
	l.noteChange()
}

func (l *loop) setPeer(now time.Time, p Peer) {
	m := l.members.all[p.Key]
	if m != nil && m.plain != nil {
		l.setPlain(now, m, p)
		return
	}
	if m == nil {
		var err error
		if m, err = newMember(now, l.self, l.config.PrivateKey, p); err != nil {
			l.log.Warn("peer has an unusable key", "peer", p.Name, "err", err)
			return
		}
		l.members.all[p.Key] = m
		if m.plain != nil {
			l.setPlain(now, m, p)
			return
		}
		m.path.rate = l.config.BirthdayRate
		m.sendTag = m.pair.SendTag(hour(now.Add(l.ClockOffset())))
		l.step(m, l.local.event())
		l.relaysChanged(m)
		l.step(m, l.relayOf(m))
		m.Online = false // so that its arrival is seen below
	}
	arrived, moved := p.Online && !m.Online, p.Relay != m.Relay
	m.Peer = p
	m.flow.relays.Store(p.Relays && !l.config.HubOnly)
	l.step(m, peerChanged{p.Candidates, p.NAT, p.Online})
	if moved {
		l.relaysChanged(m)
		l.step(m, l.relayOf(m))
	}
	if moved || m.flow.way.Load().relay == nil {
		l.point(m)
	}
	if arrived {
		m.flow.repeat(now)
	}
}

// rewarm says which paths are punched before anyone asks: all to peers online,
// in a mesh that is small enough, and to some that relay in any. Before the relay
// ever answered, nobody knows who is online.
func (l *loop) rewarm() {
	now := time.Now()
	online := 0
	for _, m := range l.members.all {
		if m.Online {
			online++
		}
	}
	small := l.config.PrePunch > 0 && max(online, 1) <= l.config.PrePunch
	relays := l.commonRelays()
	for _, m := range l.members.byActivity() {
		if on := (small || relays[m]) && (m.warm || m.Online || !l.hub.met); on != m.warm {
			m.warm = on
			l.step(m, warmed{on, l.slots.turn(now)})
		}
	}
}
