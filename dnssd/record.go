package dnssd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Times to live, in seconds. Locations change at any moment, and a name that
// isn't there may be within seconds.
const (
	ttlLocation = 0
	ttlName     = 60
	ttlNegative = 5
)

// records are those of one member: names that are its own, and its entries in
// lists that it shares with others.
type records struct {
	own    map[string][]dns.RR // by canonical name
	listed []*dns.PTR
	err    error
}

// records computes what the zone says of a member. It reads nothing that
// changes.
func (z *Zone) records(m Member) (*records, error) {
	r := &records{own: map[string][]dns.RR{}}
	if err := checkHost(m.Name); err != nil {
		return nil, err
	}
	host := strings.ToLower(m.Name) + "." + z.name
	for _, a := range m.Addresses {
		r.add(address(host, ttlName, a))
		if back := reverseName(a); z.apex(back) != "" {
			r.add(&dns.PTR{Hdr: header(back, dns.TypePTR, ttlName), Ptr: host})
		}
	}
	if !m.Online {
		m.Publication = Publication{}
	}
	r.peer(z, m)
	for _, s := range m.Services {
		if err := r.service(z, host, s); err != nil {
			return nil, fmt.Errorf("service %q of %s: %w", s.Instance, m.Name, err)
		}
	}
	if r.err != nil {
		return nil, fmt.Errorf("records of %s: %w", m.Name, r.err)
	}
	return r, nil
}

// peer adds the WireGuard endpoint in wgsd's form: address and text are at the
// name of the SRV record, which is its own target. Candidates without an
// endpoint (a host that only its LAN can reach) stand for themselves.
func (r *records) peer(z *Zone, m Member) {
	name := z.peerName(m.Key)
	if m.Endpoint.IsValid() {
		r.list(wireguardType+"."+z.name, name)
		r.add(&dns.SRV{Hdr: header(name, dns.TypeSRV, ttlLocation), Port: m.Endpoint.Port(), Target: name})
		r.add(address(name, ttlLocation, m.Endpoint.Addr()))
		r.add(text(name, ttlLocation, peerText(m)))
	}
	if len(m.Candidates)+len(m.Traits) > 0 {
		r.add(text(candidateLabel+"."+name, ttlLocation, append(candidateText(m.Candidates), m.Traits...)))
	}
}

func (r *records) service(z *Zone, host string, s Service) error {
	if err := checkType(s.Type); err != nil {
		return err
	}
	if err := checkText(s.Text, MaxServiceTXT); err != nil {
		return err
	}
	name, err := z.instanceName(s)
	if err != nil {
		return err
	}
	if s.Host != "" {
		if err := checkHost(s.Host); err != nil {
			return err
		}
		host = strings.ToLower(s.Host) + "." + host
	}
	if len(r.own[canonical(name)]) > 0 {
		return errors.New("its name is used twice")
	}
	r.list(parent(name), name)
	r.add(&dns.SRV{Hdr: header(name, dns.TypeSRV, ttlName), Port: s.Port, Target: host})
	r.add(text(name, ttlName, s.Text))
	if s.Host != "" {
		r.host(host, s.Addresses)
	}
	return nil
}

// instanceName is the name of a service.
func (z *Zone) instanceName(s Service) (string, error) {
	return join(s.Instance, strings.ToLower(s.Type)+"."+z.name)
}

// host adds the addresses of a host that several services may name.
func (r *records) host(name string, addresses []netip.Addr) {
	for _, a := range addresses {
		rr := address(name, ttlName, a)
		if !slices.ContainsFunc(r.own[name], func(o dns.RR) bool { return dns.IsDuplicate(o, rr) }) {
			r.add(rr)
		}
	}
}

func (r *records) add(rr dns.RR) {
	rr, err := normal(rr)
	if err != nil {
		r.err = err
		return
	}
	name := canonical(rr.Header().Name)
	r.own[name] = append(r.own[name], rr)
}

func (r *records) list(set, target string) {
	rr, err := normal(&dns.PTR{Hdr: header(set, dns.TypePTR, ttlName), Ptr: target})
	if err != nil {
		r.err = err
		return
	}
	r.listed = append(r.listed, rr.(*dns.PTR))
}

// normal takes a record through the wire format: it comes back in the very form
// in which records of messages are, or not at all.
func normal(rr dns.RR) (dns.RR, error) {
	buf := make([]byte, dns.Len(rr)+1)
	n, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", rr, err)
	}
	rr, _, err = dns.UnpackRR(buf[:n], 0)
	return rr, err
}

func header(name string, typ uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: typ, Class: dns.ClassINET, Ttl: ttl}
}

func address(name string, ttl uint32, a netip.Addr) dns.RR {
	if a = a.Unmap(); a.Is4() {
		return &dns.A{Hdr: header(name, dns.TypeA, ttl), A: net.IP(a.AsSlice())}
	}
	return &dns.AAAA{Hdr: header(name, dns.TypeAAAA, ttl), AAAA: net.IP(a.AsSlice())}
}

// text makes a TXT record. None at all is one empty string (RFC 6763 §6.1).
func text(name string, ttl uint32, list []string) dns.RR {
	txt := &dns.TXT{Hdr: header(name, dns.TypeTXT, ttl), Txt: []string{}}
	for _, s := range list {
		txt.Txt = append(txt.Txt, strings.ReplaceAll(s, `\`, `\\`))
	}
	if len(list) == 0 {
		txt.Txt = []string{""}
	}
	return txt
}

// textOf is the inverse of text.
func textOf(txt *dns.TXT) []string {
	var list []string
	for _, s := range txt.Txt {
		list = append(list, Unescape(s))
	}
	if len(list) == 1 && list[0] == "" {
		return nil
	}
	return list
}
