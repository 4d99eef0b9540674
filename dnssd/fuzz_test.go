package dnssd

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// FuzzAnswer feeds a server what anyone may send. An answer is one, fits, and
// tells strangers nothing.
func FuzzAnswer(f *testing.F) {
	for _, m := range []*dns.Msg{
		question(nasPeer, dns.TypeSRV), question(strings.ToUpper(nasPeer), dns.TypeANY), question("_wireguard._udp.meshd.internal.", dns.TypePTR),
		question("7.0.96.100.in-addr.arpa.", dns.TypePTR), question(".", dns.TypeAXFR), question("nas.meshd.internal.", dns.TypeA).SetEdns0(1, true),
		new(dns.Msg).SetUpdate("meshd.internal."),
	} {
		data, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, uint8(Full), true)
		f.Add(data, uint8(Refuse), false)
	}
	z := newZone(f, nas, laptop)
	f.Fuzz(func(t *testing.T, data []byte, access uint8, udp bool) {
		m := new(dns.Msg)
		if m.Unpack(data) != nil || m.Response {
			return
		}
		s := NewServer(ServerConfig{Zone: z, Access: func(netip.AddrPort, string, bool) Access { return Access(access % 3) }})
		x := &exchange{msg: m, src: netip.AddrPortFrom(loopback, 5), udp: udp, sigErr: verify(data, s.secrets, "")}
		answer := s.answer(t.Context(), x, nil)
		if answer == nil {
			return
		}
		r := new(dns.Msg)
		if err := r.Unpack(answer); err != nil || !r.Response || r.Id != m.Id {
			t.Fatalf("answer %x is none to this question: %v", answer, err)
		}
		if udp && len(answer) > maxUDP {
			t.Errorf("answer by UDP has %d bytes", len(answer))
		}
		if Access(access%3) == Refuse && len(r.Answer)+len(r.Ns) > 0 {
			t.Errorf("stranger gets\n%s", r)
		}
	})
}

// FuzzUpdate feeds the zone updates of a member. What is accepted can be set,
// and registering it anew says the same.
func FuzzUpdate(f *testing.F) {
	key, err := DeriveKey([]byte("m"), "meshd.internal", "nas", nil)
	if err != nil {
		f.Fatal(err)
	}
	register := func(p Publication) *dns.Msg {
		p.Text = append([]string{}, p.Text...) // none is a wish too
		s, err := Registration{Zone: "meshd.internal", Member: "nas", Peer: nas.Key, Key: key, Old: nas.Services, New: p}.Message(time.Unix(1e9, 0))
		if err != nil {
			return nil
		}
		m := new(dns.Msg)
		if err := m.Unpack(s.Data); err != nil {
			panic(err)
		}
		return m
	}
	for _, p := range []Publication{{}, nas.Publication, laptop.Publication} {
		data, _ := register(p).Pack()
		f.Add(data)
	}
	conditional := update([]dns.RR{empty(dns.ClassANY, "PEER", dns.TypeSRV)}, []dns.RR{empty(dns.ClassANY, "PEER", dns.TypeTXT)})
	data, _ := conditional.Pack()
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		m := new(dns.Msg)
		if m.Unpack(data) != nil {
			return
		}
		z := newZone(t, nas, laptop)
		p, rcode := z.update(m, "nas")
		if rcode != dns.RcodeSuccess {
			return
		}
		member := nas
		member.Publication = p
		if err := z.Set(member); err != nil {
			t.Fatalf("accepted, but %v", err)
		}
		again := register(p)
		if again == nil {
			t.Fatalf("%+v can't be registered", p)
		}
		if got, rcode := z.update(again, "nas"); rcode != dns.RcodeSuccess || !got.Equal(p) {
			t.Errorf("registered anew: %s, got %+v, want %+v", dns.RcodeToString[rcode], got, p)
		}
	})
}

// FuzzText takes TXT records apart: what is understood is written just so.
func FuzzText(f *testing.F) {
	f.Add("txtvers=1", "pub=AQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", `nat=a\b"`)
	f.Add("c0=host 192.168.7.2:41641", "c1=mapped [2001:db8::1]:9", "c2=")
	f.Add("", "=", "\x00\xff")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		list := []string{a, b, c}
		if candidates, traits, err := parseCandidateText(list); err == nil {
			again, traits2, err := parseCandidateText(append(candidateText(candidates), traits...))
			if err != nil || !(Publication{Candidates: again, Traits: traits2}).Equal(Publication{Candidates: candidates, Traits: traits}) {
				t.Errorf("%q reads as %v %q, then as %v %q, %v", list, candidates, traits, again, traits2, err)
			}
		}
		own, err := parsePeerText(list, nas.Key)
		if err != nil {
			return
		}
		m := nas
		m.Text = own
		rr, err := normal(text(nasPeer, 0, peerText(m)))
		if err != nil {
			t.Fatalf("%q makes no record: %v", own, err)
		}
		again, err := parsePeerText(textOf(rr.(*dns.TXT)), nas.Key)
		if err != nil || !(Publication{Text: again}).Equal(Publication{Text: own}) {
			t.Errorf("%q comes back as %q, %v", own, again, err)
		}
	})
}
