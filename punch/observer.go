package punch

import (
	"crypto/rand"
	"net/netip"
	"slices"
	"time"

	"meshd/punch/stun"
	"meshd/punch/wire"
)

// publishDelay gathers observations that come together.
const publishDelay = 50 * time.Millisecond

// staleFor is how long observations outlive a change of network, if nobody
// confirms or replaces them.
const staleFor = 2 * time.Second

// observer gathers what this host knows of its own addresses. It has no socket:
// ask sends for it, and others carry out its surveys.
type observer struct {
	port      uint16
	v4, v6    bool
	advertise []netip.AddrPort
	offer     Offer
	ask       func(to netip.AddrPort, request []byte)

	servers []*server
	nets    []netip.Prefix
	seen    map[netip.AddrPort]netip.AddrPort // by whom → as what
	staleAt time.Time                         // when seen is void; zero: it is good

	viewers    map[netip.Addr]netip.AddrPort // by which peer → as what
	reflectors []Key                         // peers that were asked as what they see us
	found      Discovery                     // of the last survey
	surveyAt   time.Time                     // when the next one is due; zero: nothing is new

	generation uint32 // of what was told last
	told       Local
	tellAt     time.Time // zero: nothing new
}

// server is a STUN server that has yet to answer.
type server struct {
	addr  netip.AddrPort
	txid  stun.TxID
	since time.Time
	asked int
}

func newObserver(port uint16, sockets []Socket, advertise []netip.AddrPort, ask func(netip.AddrPort, []byte)) *observer {
	return &observer{
		port: port, v4: sockets[socket4] != nil, v6: sockets[socket6] != nil,
		advertise: advertise, ask: ask,
		seen: make(map[netip.AddrPort]netip.AddrPort), viewers: make(map[netip.Addr]netip.AddrPort),
	}
}

// setServers says whom to ask. What others saw is forgotten.
func (o *observer) setServers(now time.Time, addrs []netip.AddrPort) {
	var list []*server
	for _, a := range addrs {
		if a.Addr().Is4() && o.v4 || a.Addr().Is6() && o.v6 {
			list = append(list, &server{addr: a})
		}
	}
	same := func(a, b *server) bool { return a.addr == b.addr }
	if slices.EqualFunc(list, o.servers, same) {
		return
	}
	o.servers = list
	o.forget()
	o.restart(now)
	o.tell(now, publishDelay)
}

// restart asks all servers anew.
func (o *observer) restart(now time.Time) {
	for _, s := range o.servers {
		s.since, s.asked = now, 0
		rand.Read(s.txid[:])
	}
}

// suspect asks everyone again after a change of network. Often nothing that
// matters has changed, and then nobody should hear of it.
func (o *observer) suspect(now time.Time) {
	o.staleAt = now.Add(staleFor)
	o.restart(now)
}

// setNets says which addresses and subnets this host has.
func (o *observer) setNets(now time.Time, nets []netip.Prefix) {
	o.nets = nets
	o.tell(now, 0)
}

// observed notes as what a server sees us, and tells after a delay. When that
// changed, the NAT has new mappings, and all others have to look again.
func (o *observer) observed(now time.Time, server, addr netip.AddrPort, delay time.Duration) {
	o.staleAt = time.Time{}
	old, known := o.seen[server]
	if old == addr {
		return
	}
	if known {
		o.forget()
		o.restart(now)
	}
	if old.Addr() != addr.Addr() && known {
		o.found = Discovery{} // of another NAT
	}
	o.seen[server] = addr
	o.surveyAt = now.Add(surveyDelay)
	o.tell(now, delay)
}

// forget drops what others saw.
func (o *observer) forget() {
	clear(o.seen)
	clear(o.viewers)
	o.reflectors = nil
}

// receive takes a STUN response. One that nobody asked for is dropped.
func (o *observer) receive(now time.Time, b []byte, from netip.AddrPort) {
	r, err := stun.ParseResponse(b)
	if err != nil {
		return
	}
	for _, s := range o.servers {
		if s.txid == r.TxID && s.addr == from && s.asked > 0 && s.asked <= len(asking) {
			s.asked = len(asking) + 1
			o.observed(now, from, r.Mapped, publishDelay)
		}
	}
}

func (o *observer) tell(now time.Time, delay time.Duration) {
	o.tellAt = earlier(o.tellAt, now.Add(delay))
}

// run asks the servers that are due, and gives up what nobody confirms.
func (o *observer) run(now time.Time) {
	if !o.staleAt.IsZero() && !now.Before(o.staleAt) {
		o.staleAt = time.Time{}
		o.forget()
		o.found = Discovery{}
		o.tell(now, 0)
	}
	for _, s := range o.servers {
		if s.asked < len(asking) && !now.Before(s.since.Add(asking[s.asked])) {
			s.asked++
			o.ask(s.addr, stun.Request(s.txid, stun.Change{}))
		}
	}
}

func (o *observer) deadline() time.Time {
	d := earlier(earlier(o.tellAt, o.staleAt), o.surveyAt)
	for _, s := range o.servers {
		if s.asked < len(asking) {
			d = earlier(d, s.since.Add(asking[s.asked]))
		}
	}
	return d
}

// changed reports whether there is something new to tell, once.
func (o *observer) changed(now time.Time) bool {
	if o.tellAt.IsZero() || now.Before(o.tellAt) {
		return false
	}
	o.tellAt = time.Time{}
	next := o.local()
	if o.generation > 0 && sameCandidates(o.told.Candidates, next.Candidates) && o.told.NAT == next.NAT && o.told.Relays == next.Relays {
		return false
	}
	o.told = next
	o.generation++
	return true
}

// event is what the paths should know of us.
func (o *observer) event() selfChanged {
	return selfChanged{candidates: o.told.Candidates, nat: o.told.NAT, nets: o.nets, v4: o.v4, v6: o.v6}
}

// local works out what is known now.
func (o *observer) local() Local {
	l := Local{NAT: o.nat(), Relays: o.offer.relays(len(o.advertise) > 0, o.found.Best()), MappingSure: o.mappingSure()}
	add := func(kind wire.CandidateKind, addr netip.AddrPort) {
		c := wire.Candidate{Kind: kind, Addr: addr}
		known := slices.ContainsFunc(l.Candidates, func(k wire.Candidate) bool { return k.Addr == addr })
		if !known && len(l.Candidates) < wire.MaxCandidates {
			l.Candidates = append(l.Candidates, c)
		}
	}
	for _, a := range o.advertise {
		add(wire.Mapped, a)
	}
	for _, p := range o.nets {
		if a := p.Addr().Unmap(); a.Is4() && o.v4 || a.Is6() && o.v6 {
			add(wire.Host, netip.AddrPortFrom(a, o.port))
		}
	}
	reflexive := o.reflexive()
	for _, a := range reflexive {
		add(wire.Reflexive, a)
	}
	if dependent(l.NAT.Mapping) {
		for _, a := range reflexive {
			add(wire.Guess, netip.AddrPortFrom(a.Addr(), o.port))
		}
	}
	return l
}

// reflexive lists what others see, in an order that lasts.
func (o *observer) reflexive() []netip.AddrPort {
	var list []netip.AddrPort
	for _, s := range o.servers {
		if a, ok := o.seen[s.addr]; ok && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}
