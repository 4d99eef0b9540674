package dnssd

import (
	"strings"

	"github.com/miekg/dns"
)

// Access says what someone may see of a zone.
type Access uint8

const (
	Refuse Access = iota // nothing
	Public               // names and endpoints, but no addresses of LANs: no candidates, no hosts below members
	Full                 // everything
)

// answer fills m, a reply, with what the zone says to its question, in at most
// about size bytes. It returns whose peer name was asked for, if it was one.
func (z *Zone) answer(m *dns.Msg, access Access, size int) (member string) {
	q := m.Question[0]
	name := canonical(q.Name)
	apex := z.apex(name)
	if apex == "" || q.Qclass != dns.ClassINET && q.Qclass != dns.ClassANY || isTransfer(q.Qtype) {
		m.Rcode = dns.RcodeRefused
		return ""
	}
	m.Authoritative = true
	set, exists := z.see(name, access)
	if !exists {
		m.Rcode = dns.RcodeNameError
		m.Ns = []dns.RR{z.soa(apex)}
		return ""
	}
	if name == apex && (q.Qtype == dns.TypeSOA || q.Qtype == dns.TypeANY) {
		m.Answer = append(m.Answer, z.soa(apex))
	}
	m.Answer = append(m.Answer, choose(set.records, q, size)...)
	if len(m.Answer) == 0 {
		m.Ns = []dns.RR{z.soa(apex)}
	}
	if q.Qtype == dns.TypeSRV {
		z.explain(m, access)
	}
	if set.member != "" && strings.HasSuffix(name, "."+wireguardType+"."+z.name) {
		return set.member
	}
	return ""
}

// see is lookup for somebody who may not see everything.
func (z *Zone) see(name string, access Access) (*answerSet, bool) {
	set, exists := z.lookup(name)
	if access == Full || set.member == "" {
		return set, exists
	}
	if strings.HasPrefix(name, candidateLabel+".") || strings.HasSuffix(name, "."+keyName(set.member, z.name)) {
		return nothing, false
	}
	return set, exists
}

func isTransfer(qtype uint16) bool { return qtype == dns.TypeAXFR || qtype == dns.TypeIXFR }

// minRecord is the size of the smallest record: a pointer, type, class, TTL and
// length.
const minRecord = 12

// choose returns the records that a question asks for, but no more than would
// overflow size: a list of thousands isn't packed in order to be cut. Their
// names are spelled as the question spells them (the case may differ), so that
// they compress.
func choose(records []dns.RR, q dns.Question, size int) []dns.RR {
	var chosen []dns.RR
	for _, rr := range records {
		if q.Qtype != rr.Header().Rrtype && q.Qtype != dns.TypeANY {
			continue
		}
		if chosen = append(chosen, spell(rr, q.Name)); len(chosen) > size/minRecord {
			break
		}
	}
	return chosen
}

// spell returns rr under another spelling of its name. A peer's SRV record is
// its own target, and follows it.
func spell(rr dns.RR, name string) dns.RR {
	old := rr.Header().Name
	if old == name {
		return rr
	}
	rr = dns.Copy(rr)
	rr.Header().Name = name
	if srv, ok := rr.(*dns.SRV); ok && srv.Target == old {
		srv.Target = name
	}
	return rr
}

// explain adds what whoever asks for a SRV record needs next (RFC 2782,
// RFC 6763 §12.2): the target's addresses, foremost, as wgsd's client takes the
// first additional record for one; then the text.
func (z *Zone) explain(m *dns.Msg, access Access) {
	for _, rr := range m.Answer {
		srv, ok := rr.(*dns.SRV)
		if !ok {
			continue
		}
		target, _ := z.see(canonical(srv.Target), access)
		for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA} {
			m.Extra = append(m.Extra, choose(target.records, dns.Question{Name: srv.Target, Qtype: typ}, dns.MaxMsgSize)...)
		}
	}
	own, _ := z.lookup(canonical(m.Question[0].Name))
	m.Extra = append(m.Extra, choose(own.records, dns.Question{Name: m.Question[0].Name, Qtype: dns.TypeTXT}, dns.MaxMsgSize)...)
}
