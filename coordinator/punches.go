package coordinator

import (
	"net/netip"
	"time"

	meshdv1 "meshd/coordinator/api/meshd/v1"
)

// punchEvery is how often one member is told to send toward another, at most: a
// NAT that is open stays so for far longer.
const punchEvery = time.Second

// punches are questions for where a member is: each has it send toward whoever
// asked, so that its NAT lets that one in.
type punches struct {
	wanted chan wantedPunch

	// Of the coordinator's goroutine.
	told map[[2]MemberID]time.Time // target and asker
}

type wantedPunch struct {
	src    netip.AddrPort // of the question; zero: by the control connection
	asker  string         // by whom it was signed; empty: nobody
	member string         // whom it was about
}

func newPunches() *punches {
	return &punches{wanted: make(chan wantedPunch, 64), told: map[[2]MemberID]time.Time{}}
}

// want has the signature of dnssd.ServerConfig.Asked. Who floods us with
// questions is answered, and may wait for the rest.
func (p *punches) want(src netip.AddrPort, asker, member string) {
	select {
	case p.wanted <- wantedPunch{src, asker, member}:
	default:
	}
}

// due reports whether it is time to tell target of asker, and notes that it was.
func (p *punches) due(now time.Time, target, asker MemberID) bool {
	pair := [2]MemberID{target, asker}
	if now.Sub(p.told[pair]) < punchEvery {
		return false
	}
	p.told[pair] = now
	return true
}

// forget drops what is due again.
func (p *punches) forget(now time.Time) {
	for pair, at := range p.told {
		if now.Sub(at) >= punchEvery {
			delete(p.told, pair)
		}
	}
}

// punch tells a member who asks for it.
func (c *Coordinator) punch(w wantedPunch) {
	target, ok := c.network.Member(c.network.byName[w.member])
	if !ok {
		return
	}
	var ids []uint32
	for _, id := range c.askers(w) {
		if MaySee(target, c.network.members[id]) && c.punches.due(c.now(), target.ID, id) {
			ids = append(ids, uint32(id))
		}
	}
	if len(ids) > 0 {
		c.fanout.tell(target.ID, &meshdv1.MapResponse{Punch: ids})
	}
}

// askers are the members that a question may have come from: one, if it was
// signed or came through the mesh; all plain ones behind a public address.
func (c *Coordinator) askers(w wantedPunch) []MemberID {
	if id, ok := c.network.byName[w.asker]; ok {
		return []MemberID{id}
	}
	if id, ok := c.network.byAddr[w.src.Addr()]; ok {
		return []MemberID{id}
	}
	return c.plains.at(w.src.Addr())
}
