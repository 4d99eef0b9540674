package punch

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"meshd/punch/wire"
)

// pollIdle is how often the counters of a flow are read that need no attention.
const pollIdle = time.Second

// member is a peer as the loop holds it.
type member struct {
	Peer
	pair    *wire.Pair
	path    *path
	detour  *detour
	by      Key       // the relay by which its last relayed probe came; zero: the hub
	plain   *plainWay // nil: an agent
	flow    *flow
	replays replays
	seq     uint64 // of our last probe to it
	sendTag wire.Tag
	warm    bool
	choice  choice
	shown   shown // as last told in log and status
	sizing  sizing
	bundles [2]bundles // of the direct route and the relay in use
	fed     time.Time  // data came in last
	largest int        // datagram that its ways carry, as last told; 0: not known

	narrowed time.Time // since when largest is less than it was
	hedged   bool      // data takes the relay, too, see hedges

	counted traffic   // the flow's counters when last read
	polled  time.Time // and when that was
}

// shown is what a person sees of a path.
type shown struct {
	direct bool
	route  route
}

func newMember(now time.Time, self Key, private [32]byte, p Peer) (*member, error) {
	pair, err := wire.NewPair(private, p.Key)
	if err != nil {
		return nil, err
	}
	lower := slices.Compare(self[:], p.Key[:]) < 0
	m := &member{Peer: p, pair: pair, sizing: make(sizing), flow: &flow{key: p.Key, handshake: handshake{stands: lower}}}
	m.flow.way.Store(&way{})
	if p.Plain {
		m.plain, m.flow.plain = &plainWay{since: now}, true
	}
	m.path = newPath(now, lower, random64())
	m.choice = m.path.choice()
	m.detour = newDetour(random64())
	return m, nil
}

// poll reads the counters.
func (m *member) poll(now time.Time) traffic {
	m.polled = now
	moved := m.flow.take(&m.counted)
	if moved.received > 0 || moved.relayed > 0 {
		m.fed = now
	}
	moved.straight, moved.asking, moved.coarse = m.flow.straight.Load(), m.flow.asking(), m.flow.coarse.Load()
	return moved
}

// rest stops looking at an idle flow; its next packet wakes the loop.
func (m *member) rest() {
	m.flow.awake.Store(false)
	if m.flow.counters() != m.counted {
		m.flow.awake.Store(true) // it came between the last look and now
	}
}

// deadline is when the member wants to be looked at.
func (m *member) deadline() time.Time {
	if m.plain != nil {
		return time.Time{}
	}
	d := earlier(m.path.deadline(), m.detour.deadline())
	for i := range m.bundles {
		d = earlier(d, m.bundles[i].deadline())
	}
	if m.flow.awake.Load() {
		every := pollIdle
		if m.attentive() {
			every = pollTraffic
		}
		d = earlier(d, m.polled.Add(every))
	}
	return d
}

// attentive reports whether the counters must be looked at often.
func (m *member) attentive() bool { return m.path.attentive() || m.detour.attentive() }

// show is what to tell of the path now.
func (m *member) show() shown {
	if m.path.cur == nil || !m.path.confirmed {
		return shown{}
	}
	return shown{true, m.path.cur.route}
}

func (s shown) String() string {
	if s.direct {
		return s.route.addr.String()
	}
	return "relay"
}

// members are the peers, and the ways to find one by what a packet shows.
type members struct {
	all  map[Key]*member
	tags map[wire.Tag]*member
	hour uint32 // of the tags
	// plain: some peer is.
	plain bool
}

func newMembers() members { return members{all: make(map[Key]*member)} }

// tagged finds the sender of a probe; nil: a stranger.
func (ms *members) tagged(t wire.Tag) *member { return ms.tags[t] }

// keepTags computes the tags when the hour is another one.
func (ms *members) keepTags(hour uint32) {
	if ms.tags != nil && ms.hour == hour {
		return
	}
	ms.hour = hour
	ms.tags = make(map[wire.Tag]*member, 3*len(ms.all))
	for _, m := range ms.all {
		m.sendTag = m.pair.SendTag(hour)
		for h := hour - 1; h != hour+2; h++ {
			ms.tags[m.pair.ReceiveTag(h)] = m
		}
	}
}

// byActivity lists the peers, those with the latest data first.
func (ms *members) byActivity() []*member {
	return slices.SortedFunc(maps.Values(ms.all), func(a, b *member) int {
		return cmp.Or(b.path.lastData.Compare(a.path.lastData), slices.Compare(a.Key[:], b.Key[:]))
	})
}

// publish gives the packet path a new table. An address that several peers were
// heard from belongs to the one heard last.
func (ms *members) publish(x *mux, serving bool) {
	t := &table{
		flows: make(map[Key]*flow, len(ms.all)),
		ids:   make(map[wire.RelayID]*flow, len(ms.all)),
		addrs: make(map[netip.AddrPort]*flow),
		relay: x.table.Load().relay,
		self:  x.table.Load().self,

		clients: make(map[netip.AddrPort]client),
	}
	last := make(map[netip.AddrPort]time.Time)
	for key, m := range ms.all {
		t.flows[key] = m.flow
		if m.Relay != 0 {
			t.ids[m.Relay] = m.flow
		}
		if m.plain != nil && m.plain.addr.IsValid() {
			t.addrs[m.plain.addr], last[m.plain.addr] = m.flow, m.plain.since
		}
		for _, l := range m.path.legs {
			if t.addrs[l.addr] == nil || l.heard.After(last[l.addr]) {
				t.addrs[l.addr], last[l.addr] = m.flow, l.heard
			}
			if serving && !l.proven.IsZero() {
				t.clients[l.addr] = client{m.flow, m.Relay}
			}
		}
	}
	x.table.Store(t)
}

// owner is the flow that packets from an address belong to; nil: nobody's.
func (m *mux) owner(addr netip.AddrPort) *flow { return m.table.Load().addrs[addr] }

// setRelay tells the packet path where relayed packets come from, and who we are
// there.
func (m *mux) setRelay(addr netip.AddrPort, self wire.RelayID) {
	t := *m.table.Load()
	if t.relay != addr || t.self != self {
		t.relay, t.self = addr, self
		m.table.Store(&t)
	}
}
