package dnssd

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

var (
	errNoMember = errors.New("no such member")
	errHalf     = errors.New("a service has one SRV record, at most one TXT record, and its target an address")
)

// publication reads a draft back. What the zone could not serve just so (a SRV
// record without an address, two endpoints, text without a service) is an error:
// nothing that was accepted gets lost.
func (o *own) publication() (Publication, error) {
	var p Publication
	var err error
	if p.Endpoint, p.Text, err = o.readPeer(o.records[o.peer]); err != nil {
		return p, err
	}
	if p.Candidates, p.Traits, err = o.readCandidates(); err != nil {
		return p, err
	}
	if p.Services, err = o.readServices(); err != nil {
		return p, err
	}
	if len(p.Services) > MaxServices {
		return p, fmt.Errorf("%d services, more than %d", len(p.Services), MaxServices)
	}
	return p, nil
}

// sorted are the records of one name by type.
type sorted struct {
	srv       []*dns.SRV
	txt       []*dns.TXT
	addresses []netip.Addr
}

func sortOut(records []dns.RR) (s sorted) {
	for _, rr := range records {
		switch rr := rr.(type) {
		case *dns.SRV:
			s.srv = append(s.srv, rr)
		case *dns.TXT:
			s.txt = append(s.txt, rr)
		case *dns.A:
			s.addresses = append(s.addresses, addrOf(rr.A))
		case *dns.AAAA:
			s.addresses = append(s.addresses, addrOf(rr.AAAA))
		}
	}
	return s
}

func addrOf(ip []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// readPeer reads the endpoint, if there is one, and the text. Text records that
// were added one by one are one in the end, which DNS-SD has (RFC 6763 §6.8).
func (o *own) readPeer(records []dns.RR) (ap netip.AddrPort, own []string, err error) {
	s := sortOut(records)
	for _, txt := range s.txt {
		more, err := parsePeerText(textOf(txt), o.member.Key)
		if err != nil {
			return ap, nil, err
		}
		own = append(own, more...)
	}
	if err := checkText(own, MaxText); err != nil {
		return ap, nil, err
	}
	if len(s.srv) == 0 && len(s.addresses) == 0 {
		return ap, own, nil
	}
	if len(s.srv) != 1 || len(s.addresses) != 1 || canonical(s.srv[0].Target) != o.peer {
		return ap, nil, errHalf
	}
	if ap = netip.AddrPortFrom(s.addresses[0], s.srv[0].Port); !usable(ap) {
		return ap, nil, fmt.Errorf("nobody can send to %s", ap)
	}
	return ap, own, nil
}

func (o *own) readCandidates() ([]Candidate, []string, error) {
	records := o.records[candidateLabel+"."+o.peer]
	s := sortOut(records)
	if len(records) == 0 {
		return nil, nil, nil
	}
	if len(records) != 1 || len(s.txt) != 1 {
		return nil, nil, errors.New("candidates are one TXT record")
	}
	return parseCandidateText(textOf(s.txt[0]))
}

// readServices reads services in the order of their names, and sees that no host
// is left over.
func (o *own) readServices() ([]Service, error) {
	var list []Service
	hosts := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(o.records)) {
		typ := o.zone.typeOf(parent(name))
		if typ == "" || len(o.records[name]) == 0 {
			continue
		}
		s, host, err := o.readService(name, typ)
		if err != nil {
			return nil, fmt.Errorf("service %s: %w", name, err)
		}
		hosts[host] = true
		list = append(list, s)
	}
	for name, records := range o.records {
		if parent(name) == o.host && len(records) > 0 && !hosts[name] {
			return nil, fmt.Errorf("host %s has no service", name)
		}
	}
	return list, nil
}

func (o *own) readService(name, typ string) (s Service, host string, err error) {
	r := sortOut(o.records[name])
	if len(r.srv) != 1 || len(r.txt) > 1 || len(r.addresses) > 0 {
		return s, "", errHalf
	}
	instance, _ := cut(r.srv[0].Hdr.Name)
	s = Service{Instance: instance, Type: typ, Port: r.srv[0].Port}
	if len(r.txt) == 1 {
		s.Text = textOf(r.txt[0])
	}
	host = canonical(r.srv[0].Target)
	if host != o.host {
		if parent(host) != o.host || len(o.records[host]) == 0 {
			return s, "", fmt.Errorf("target %s is no host of its own with an address", host)
		}
		s.Host, _ = cut(host)
		s.Addresses = sortOut(o.records[host]).addresses
	}
	return s, host, checkText(s.Text, MaxServiceTXT)
}
