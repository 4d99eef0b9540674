package punch

import (
	"time"

	"meshd/punch/wire"
)

// Offer says whether a host relays for its peers.
type Offer uint8

// Offers.
const (
	OfferAuto Offer = iota // when datagrams that nobody asked for reach it
	OfferOn
	OfferOff
)

// Relaying is what a host gives and takes of relaying by peers.
type Relaying struct {
	Offer   Offer
	HubOnly bool // nothing is relayed by peers, in either direction
}

// SetRelaying changes what [Config.Offer] and [Config.HubOnly] said at first. It
// may be called before Run, and never blocks.
func (e *Engine) SetRelaying(r Relaying) {
	e.relaying.Store(&r)
	e.mux.nudge()
}

// SetBirthdayRate changes what [Config.BirthdayRate] said at first. A search that
// runs goes on as it began. It never blocks.
func (e *Engine) SetBirthdayRate(n int) {
	n = birthdayRate(n)
	e.rate.Store(&n)
	e.mux.nudge()
}

func (l *loop) setRate(n int) {
	l.config.BirthdayRate = n
	for _, m := range l.members.all {
		l.step(m, rated{n})
	}
}

func (l *loop) setRelaying(r Relaying) {
	l.config.Offer, l.config.HubOnly = r.Offer, r.HubOnly
	l.local.setOffer(r.Offer)
	for _, m := range l.members.all {
		m.flow.relays.Store(m.Relays && !r.HubOnly)
	}
}

// relays reports whether a host with this behaviour of the network before it
// offers to relay. Automatically it does when anyone can send to it: at an address
// that a gateway forwards, or without NAT and filter. A hub with one address can't
// tell the lack of a filter from one that asks for the address alone; the answer
// from a port that was not asked is believed where nothing translates, since home
// routers are where such filters are.
func (o Offer) relays(mapped bool, r *Report) bool {
	switch o {
	case OfferOn:
		return true
	case OfferOff:
		return false
	}
	open := r.Filtering == wire.EndpointIndependent && r.FilteringSure
	unsure := r.Filtering == wire.AddressDependent && !r.FilteringSure
	switch {
	case mapped:
		return true
	case !r.UDP || r.Mapping != wire.EndpointIndependent:
		return false
	case r.NAT:
		return open
	}
	return open || unsure
}

// setOffer says whether to relay for peers, and tells if that is news.
func (o *observer) setOffer(offer Offer) {
	if o.offer != offer {
		o.offer = offer
		o.tell(time.Now(), 0)
	}
}

// serve begins or ends relaying for peers.
func (l *loop) serve(on bool) {
	if l.serving != on {
		l.serving = on
		l.publish()
	}
}

// publish gives the packet path a new table.
func (l *loop) publish() { l.members.publish(l.mux, l.serving) }

// becameClient reports whether a peer proved that it is at an address from which
// the packet path does not relay for it yet.
func (l *loop) becameClient(m *member, from route) bool {
	leg := m.path.legs[from]
	return l.serving && leg != nil && !leg.proven.IsZero() && l.mux.table.Load().clients[from.addr].flow != m.flow
}

// RelayStats is what was relayed for peers since the start.
type RelayStats struct {
	Packets, Bytes uint64
	Dropped        uint64 // over the limit, or for whom we have no direct path
}

func (o *onwards) stats() RelayStats {
	return RelayStats{Packets: o.packets.Load(), Bytes: o.bytes.Load(), Dropped: o.dropped.Load()}
}
