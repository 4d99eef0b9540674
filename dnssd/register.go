package dnssd

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/miekg/dns"
)

// Registration is one member's writing into its zone.
type Registration struct {
	Zone   string // name of the zone
	Member string // name of the member
	Peer   [32]byte
	Key    Key
	// Old are services that were published before: those that New lacks are
	// withdrawn. Endpoint and candidates need no memory.
	Old []Service
	// New is what there is from now on; zero: no endpoint, no candidates. Nil
	// text leaves what others may have written there as it is.
	New Publication
	// ServicesOnly leaves endpoint, candidates and text as they are.
	ServicesOnly bool
}

// Message is a DNS UPDATE (RFC 2136) that makes New what the member publishes,
// in one message, signed at now. Services that are in neither Old nor New stay.
// Repeating it changes nothing.
func (r Registration) Message(now time.Time) (*Signed, error) {
	z, err := NewZone(ZoneConfig{Name: r.Zone})
	if err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	m.SetUpdate(z.name)
	if err := r.withdraw(m, z); err != nil {
		return nil, err
	}
	if err := r.insert(m, z); err != nil {
		return nil, err
	}
	return sign(m, r.Key, now)
}

// withdraw removes the endpoint, the candidates, and services with their entries
// in lists.
func (r Registration) withdraw(m *dns.Msg, z *Zone) error {
	var gone []dns.RR
	if !r.ServicesOnly {
		r.withdrawPeer(m, z)
		gone = []dns.RR{&dns.ANY{Hdr: header(candidateLabel+"."+z.peerName(r.Peer), dns.TypeANY, 0)}}
	}
	old, err := z.records(Member{Name: r.Member, Online: true, Publication: Publication{Services: r.Old}})
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(old.own)) {
		gone = append(gone, &dns.ANY{Hdr: header(name, dns.TypeANY, 0)})
	}
	m.RemoveName(gone)
	for _, ptr := range old.listed {
		m.Remove([]dns.RR{ptr})
	}
	return nil
}

func (r Registration) withdrawPeer(m *dns.Msg, z *Zone) {
	types := []uint16{dns.TypeSRV, dns.TypeA, dns.TypeAAAA}
	if r.New.Text != nil {
		types = append(types, dns.TypeTXT)
	}
	var sets []dns.RR
	for _, typ := range types {
		sets = append(sets, &dns.ANY{Hdr: header(z.peerName(r.Peer), typ, 0)})
	}
	m.RemoveRRset(sets)
}

func (r Registration) insert(m *dns.Msg, z *Zone) error {
	p := r.New
	if r.ServicesOnly {
		p = Publication{Services: p.Services}
	}
	added, err := z.records(Member{Name: r.Member, Key: r.Peer, Online: true, Publication: p})
	if err != nil {
		return err
	}
	for _, ptr := range added.listed {
		m.Insert([]dns.RR{ptr})
	}
	peer := z.peerName(r.Peer)
	for _, name := range slices.Sorted(maps.Keys(added.own)) {
		set := added.own[name]
		if name == peer && r.New.Text == nil {
			set = slices.DeleteFunc(set, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeTXT })
		}
		m.Insert(set)
	}
	return nil
}

// Signed is a message that was signed, and what its answer must match.
type Signed struct {
	Data []byte
	mac  string
	key  Key
}

func sign(m *dns.Msg, key Key, now time.Time) (*Signed, error) {
	m.Extra = append(m.Extra, &dns.TSIG{
		Hdr:       dns.RR_Header{Name: key.Name, Rrtype: dns.TypeTSIG, Class: dns.ClassANY},
		Algorithm: dns.HmacSHA256, TimeSigned: uint64(now.Unix()), Fudge: fudge, OrigId: m.Id,
	})
	data, mac, err := dns.TsigGenerateWithProvider(m, key.provider(), "", false)
	if err != nil {
		return nil, fmt.Errorf("sign with %s: %w", key, err)
	}
	return &Signed{Data: data, mac: mac, key: key}, nil
}

func (k Key) provider() keys {
	return func(name string) ([]byte, bool) { return k.Secret[:], name == canonical(k.Name) }
}

// Rejection is an answer other than NOERROR.
type Rejection struct {
	Rcode string // as dig prints it: REFUSED, NOTAUTH …
	TSIG  string // BADKEY, BADSIG, BADTIME; empty: the signature is good
	// Time there, if the clocks are too far apart; the answer is then signed.
	// Sign anew for it.
	Time time.Time
}

func (e *Rejection) Error() string {
	if e.TSIG == "" {
		return "server answers " + e.Rcode
	}
	return "server answers " + e.Rcode + " (" + e.TSIG + ")"
}

// Check verifies the answer to a signed message: nil says that it was done, a
// [*Rejection] that it was not. Anything else is not an answer to trust.
func (s *Signed) Check(answer []byte) error {
	m := new(dns.Msg)
	if err := m.Unpack(answer); err != nil {
		return fmt.Errorf("parse answer: %w", err)
	}
	t, _ := signature(m)
	if m.Rcode != dns.RcodeSuccess {
		return s.rejection(m, t)
	}
	if t == nil {
		return errors.New("answer is not signed")
	}
	if err := verify(answer, s.key.provider(), s.mac); err != nil {
		return fmt.Errorf("verify answer: %w", err)
	}
	return nil
}

func (s *Signed) rejection(m *dns.Msg, t *dns.TSIG) error {
	r := &Rejection{Rcode: dns.RcodeToString[m.Rcode]}
	for _, rr := range m.Extra {
		if unsigned, ok := rr.(*dns.TSIG); ok {
			t = unsigned
		}
	}
	if t == nil || t.Error == 0 {
		return r
	}
	r.TSIG = dns.RcodeToString[int(t.Error)]
	if there, err := strconv.ParseInt(t.OtherData, 16, 64); err == nil && t.Error == dns.RcodeBadTime {
		r.Time = time.Unix(there, 0)
	}
	return r
}
