package dnssd

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// maxRecords is how many records a section of an update may have.
const maxRecords = 256

// update decides on a DNS UPDATE (RFC 2136) that member signed: what it publishes
// afterwards, or the RCODE why not. It changes nothing. Only the member's own
// names may be written (see [own]).
func (z *Zone) update(m *dns.Msg, member string) (Publication, int) {
	if rcode := z.checkZone(m); rcode != dns.RcodeSuccess {
		return Publication{}, rcode
	}
	if len(m.Answer) > maxRecords || len(m.Ns) > maxRecords {
		return Publication{}, dns.RcodeRefused
	}
	if rcode := z.prerequisites(m.Answer); rcode != dns.RcodeSuccess {
		return Publication{}, rcode
	}
	if rcode := z.prescan(m.Ns); rcode != dns.RcodeSuccess {
		return Publication{}, rcode
	}
	o, err := z.own(member)
	if err != nil {
		return Publication{}, dns.RcodeRefused
	}
	for _, rr := range m.Ns {
		if !o.may(rr) {
			return Publication{}, dns.RcodeRefused
		}
		o.write(rr)
	}
	p, err := o.publication()
	if err != nil {
		return Publication{}, dns.RcodeRefused
	}
	return p, dns.RcodeSuccess
}

// checkZone is RFC 2136 §3.1. Reverse zones follow from the members' addresses
// and take no updates.
func (z *Zone) checkZone(m *dns.Msg) int {
	if len(m.Question) != 1 || m.Question[0].Qtype != dns.TypeSOA {
		return dns.RcodeFormatError
	}
	q := m.Question[0]
	switch name := canonical(q.Name); {
	case q.Qclass != dns.ClassINET || !z.apexes[name]:
		return dns.RcodeNotAuth
	case name != z.name:
		return dns.RcodeRefused
	}
	return dns.RcodeSuccess
}

// prerequisites is RFC 2136 §3.2.
func (z *Zone) prerequisites(list []dns.RR) int {
	wanted := map[string][]dns.RR{}
	for _, rr := range list {
		h := rr.Header()
		name := canonical(h.Name)
		switch {
		case h.Ttl != 0:
			return dns.RcodeFormatError
		case !dns.IsSubDomain(z.name, name):
			return dns.RcodeNotZone
		}
		there := z.count(name, h.Rrtype)
		switch {
		case h.Class == dns.ClassINET:
			if isMeta(h.Rrtype) {
				return dns.RcodeFormatError
			}
			wanted[name] = append(wanted[name], rr)
		case h.Class != dns.ClassANY && h.Class != dns.ClassNONE || h.Rdlength != 0:
			return dns.RcodeFormatError
		case h.Class == dns.ClassANY && there == 0:
			return choice(h.Rrtype == dns.TypeANY, dns.RcodeNameError, dns.RcodeNXRrset)
		case h.Class == dns.ClassNONE && there > 0:
			return choice(h.Rrtype == dns.TypeANY, dns.RcodeYXDomain, dns.RcodeYXRrset)
		}
	}
	for name, set := range wanted {
		if !z.exactly(name, set) {
			return dns.RcodeNXRrset
		}
	}
	return dns.RcodeSuccess
}

func choice(first bool, a, b int) int {
	if first {
		return a
	}
	return b
}

// count returns how many records of a type, or of any, stand at a name.
func (z *Zone) count(name string, typ uint16) int {
	n := 0
	for _, rr := range z.all(name) {
		if typ == dns.TypeANY || rr.Header().Rrtype == typ {
			n++
		}
	}
	return n
}

// all returns the records at a canonical name, the zone's SOA among them.
func (z *Zone) all(name string) []dns.RR {
	set, _ := z.lookup(name)
	if name == z.name {
		return append([]dns.RR{z.soa(name)}, set.records...)
	}
	return set.records
}

// exactly reports whether the sets of the types in want stand at name just so
// (RFC 2136 §3.2.3).
func (z *Zone) exactly(name string, want []dns.RR) bool {
	there := z.all(name)
	for _, w := range want {
		equal := func(rr dns.RR) bool { return dns.IsDuplicate(rr, w) }
		if !slices.ContainsFunc(there, equal) {
			return false
		}
	}
	for _, rr := range there {
		typed := func(w dns.RR) bool { return w.Header().Rrtype == rr.Header().Rrtype }
		equal := func(w dns.RR) bool { return dns.IsDuplicate(rr, w) }
		if slices.ContainsFunc(want, typed) && !slices.ContainsFunc(want, equal) {
			return false
		}
	}
	return true
}

// prescan is RFC 2136 §3.4.1.
func (z *Zone) prescan(list []dns.RR) int {
	for _, rr := range list {
		h := rr.Header()
		if !dns.IsSubDomain(z.name, canonical(h.Name)) {
			return dns.RcodeNotZone
		}
		ok := false
		switch h.Class {
		case dns.ClassINET:
			ok = !isMeta(h.Rrtype) && h.Rdlength > 0
		case dns.ClassANY:
			ok = h.Ttl == 0 && h.Rdlength == 0 && (h.Rrtype == dns.TypeANY || !isMeta(h.Rrtype))
		case dns.ClassNONE:
			ok = h.Ttl == 0 && !isMeta(h.Rrtype)
		}
		if !ok {
			return dns.RcodeFormatError
		}
	}
	return dns.RcodeSuccess
}

// isMeta reports whether no record of this type can stand in a zone.
func isMeta(typ uint16) bool {
	return typ == 0 || typ == dns.TypeOPT || typ >= dns.TypeTKEY && typ <= dns.TypeANY
}

// own is what one member may write, and a draft of it:
//
//	<key>._wireguard._udp         SRV to itself, A or AAAA, TXT
//	_cand.<key>._wireguard._udp   TXT
//	_wireguard._udp               PTR to its own key (follows by itself)
//	<instance>._http._tcp         SRV to a host of its own, TXT; unless another has it
//	_http._tcp                    PTR to an instance (follows by itself)
//	<label>.<member>              A, AAAA
type own struct {
	zone    *Zone
	member  Member
	host    string // canonical
	peer    string
	records map[string][]dns.RR
	away    map[string]string // instances of members that are offline, and whose; nil: not looked up
}

// own drafts what a member publishes now, whether it is shown or not.
func (z *Zone) own(name string) (*own, error) {
	m, ok := z.Member(name)
	if !ok {
		return nil, errNoMember
	}
	m.Online = true
	r, err := z.records(m)
	if err != nil {
		return nil, err
	}
	o := &own{zone: z, member: m, peer: z.peerName(m.Key), host: strings.ToLower(m.Name) + "." + z.name}
	o.records = r.own
	if len(o.records[o.peer]) == 0 { // the text waits for an endpoint to be shown with
		rr, err := normal(text(o.peer, ttlLocation, peerText(m)))
		if err != nil {
			return nil, err
		}
		o.records[o.peer] = []dns.RR{rr}
	}
	for name := range o.records {
		if name == o.host || !dns.IsSubDomain(z.name, name) {
			delete(o.records, name)
		}
	}
	return o, nil
}

// may reports whether the member may write this record. Whole lists are
// everyone's, so only single entries may be taken out of them.
func (o *own) may(rr dns.RR) bool {
	h := rr.Header()
	name := canonical(h.Name)
	switch {
	case name == o.peer:
		return oneOf(h.Rrtype, dns.TypeSRV, dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeANY)
	case name == candidateLabel+"."+o.peer:
		return oneOf(h.Rrtype, dns.TypeTXT, dns.TypeANY)
	case name == wireguardType+"."+o.zone.name:
		ptr, ok := rr.(*dns.PTR)
		return ok && h.Class != dns.ClassANY && canonical(ptr.Ptr) == o.peer
	case o.zone.typeOf(name) != "":
		ptr, ok := rr.(*dns.PTR)
		return ok && h.Class != dns.ClassANY && o.mayInstance(canonical(ptr.Ptr), name)
	case o.zone.typeOf(parent(name)) != "":
		return oneOf(h.Rrtype, dns.TypeSRV, dns.TypeTXT, dns.TypeANY) && o.mayInstance(name, parent(name))
	case parent(name) == o.host:
		return oneOf(h.Rrtype, dns.TypeA, dns.TypeAAAA, dns.TypeANY)
	}
	return false
}

// mayInstance reports whether name, an instance of the list typ, is the member's
// or nobody's: first come, first served (RFC 9665 has the same rule). Who is
// offline keeps its names: it could not come back into the zone without them.
func (o *own) mayInstance(name, typ string) bool {
	if parent(name) != typ {
		return false
	}
	if set, _ := o.zone.lookup(name); len(set.records) > 0 {
		return strings.EqualFold(set.member, o.member.Name)
	}
	if o.away == nil {
		o.away = o.zone.away()
	}
	owner, kept := o.away[name]
	return !kept || strings.EqualFold(owner, o.member.Name)
}

// away are the instances of members that are offline, and whose they are.
func (z *Zone) away() map[string]string {
	z.mu.Lock()
	defer z.mu.Unlock()
	names := map[string]string{}
	for _, e := range z.members {
		for _, s := range e.member.Services {
			if e.member.Online {
				break
			}
			if name, err := z.instanceName(s); err == nil {
				names[canonical(name)] = e.member.Name
			}
		}
	}
	return names
}

func oneOf(typ uint16, types ...uint16) bool { return slices.Contains(types, typ) }

// typeOf is the service type whose list a canonical name is; empty: it is none.
func (z *Zone) typeOf(name string) string {
	typ, ok := strings.CutSuffix(name, "."+z.name)
	if !ok || checkType(typ) != nil {
		return ""
	}
	return typ
}

// write applies one record to the draft (RFC 2136 §3.4.2). Entries of lists
// follow from what they point to.
func (o *own) write(rr dns.RR) {
	h := rr.Header()
	name := canonical(h.Name)
	if h.Rrtype == dns.TypePTR {
		return
	}
	switch h.Class {
	case dns.ClassANY:
		o.remove(name, func(have dns.RR) bool {
			return h.Rrtype == dns.TypeANY || have.Header().Rrtype == h.Rrtype
		})
	case dns.ClassNONE:
		gone := dns.Copy(rr)
		gone.Header().Class = dns.ClassINET
		o.remove(name, func(have dns.RR) bool { return dns.IsDuplicate(have, gone) })
	default:
		o.remove(name, func(have dns.RR) bool { return dns.IsDuplicate(have, rr) })
		o.records[name] = append(o.records[name], rr)
	}
}

func (o *own) remove(name string, which func(dns.RR) bool) {
	o.records[name] = slices.DeleteFunc(slices.Clone(o.records[name]), which)
}
