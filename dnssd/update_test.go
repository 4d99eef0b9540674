package dnssd

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// zoneText makes records of lines as nsupdate takes them; CLASS and TTL may be
// any.
func zoneText(t testing.TB, lines ...string) []dns.RR {
	t.Helper()
	var list []dns.RR
	for _, line := range lines {
		rr, err := dns.NewRR(strings.ReplaceAll(line, "PEER", nasPeer))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		list = append(list, rr)
	}
	return list
}

// empty is a record without data: of class ANY or NONE.
func empty(class uint16, name string, typ uint16) dns.RR {
	return &dns.ANY{Hdr: dns.RR_Header{Name: strings.ReplaceAll(name, "PEER", nasPeer), Class: class, Rrtype: typ}}
}

// none turns a record into one to delete.
func none(rr dns.RR) dns.RR {
	rr.Header().Class, rr.Header().Ttl = dns.ClassNONE, 0
	return rr
}

// value turns a record into a prerequisite.
func value(rr dns.RR) dns.RR {
	rr.Header().Ttl = 0
	return rr
}

// wire takes a message over the wire, as a server sees it.
func wire(t testing.TB, m *dns.Msg) *dns.Msg {
	t.Helper()
	data, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	got := new(dns.Msg)
	if err := got.Unpack(data); err != nil {
		t.Fatal(err)
	}
	return got
}

// cmpopts compares addresses by value.
var cmpopts = cmp.Options{
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
}

func update(prerequisites, changes []dns.RR) *dns.Msg {
	m := new(dns.Msg)
	m.SetUpdate("meshd.internal.")
	m.Answer, m.Ns = prerequisites, changes
	return m
}

// TestPrerequisites are the cases of RFC 2136 §2.4 and §3.2.
func TestPrerequisites(t *testing.T) {
	one := func(line string) dns.RR { return zoneText(t, line)[0] }
	for _, test := range []struct {
		what string
		rr   []dns.RR
		want int
	}{
		{"set exists, does", []dns.RR{empty(dns.ClassANY, "PEER", dns.TypeSRV)}, dns.RcodeSuccess},
		{"set exists, does not", []dns.RR{empty(dns.ClassANY, "PEER", dns.TypeAAAA)}, dns.RcodeNXRrset},
		{"set of this value, is", []dns.RR{value(one("PEER 0 IN A 203.0.113.9"))}, dns.RcodeSuccess},
		{"set of this value, in another case", []dns.RR{value(one(strings.ToUpper(nasPeer) + " 0 IN A 203.0.113.9"))}, dns.RcodeSuccess},
		{"set of this value, is another", []dns.RR{value(one("PEER 0 IN A 203.0.113.10"))}, dns.RcodeNXRrset},
		{"set of this value, has fewer", []dns.RR{value(one("PEER 0 IN A 203.0.113.9")), value(one("PEER 0 IN A 203.0.113.10"))}, dns.RcodeNXRrset},
		{"set of this value, has more", []dns.RR{value(one("_services._dns-sd._udp.meshd.internal. IN PTR _wireguard._udp.meshd.internal."))}, dns.RcodeNXRrset},
		{"set does not exist, does not", []dns.RR{empty(dns.ClassNONE, "PEER", dns.TypeMX)}, dns.RcodeSuccess},
		{"set does not exist, does", []dns.RR{empty(dns.ClassNONE, "PEER", dns.TypeSRV)}, dns.RcodeYXRrset},
		{"name in use, is", []dns.RR{empty(dns.ClassANY, "nas.meshd.internal.", dns.TypeANY)}, dns.RcodeSuccess},
		{"name in use, the zone's", []dns.RR{empty(dns.ClassANY, "meshd.internal.", dns.TypeSOA)}, dns.RcodeSuccess},
		{"name in use, is not", []dns.RR{empty(dns.ClassANY, "none.meshd.internal.", dns.TypeANY)}, dns.RcodeNameError},
		{"name in use, has only names below", []dns.RR{empty(dns.ClassANY, "_udp.meshd.internal.", dns.TypeANY)}, dns.RcodeNameError},
		{"name not in use, is not", []dns.RR{empty(dns.ClassNONE, "none.meshd.internal.", dns.TypeANY)}, dns.RcodeSuccess},
		{"name not in use, is", []dns.RR{empty(dns.ClassNONE, "nas.meshd.internal.", dns.TypeANY)}, dns.RcodeYXDomain},
		{"a TTL", []dns.RR{one("PEER 1 IN A 203.0.113.9")}, dns.RcodeFormatError},
		{"another zone's name", []dns.RR{empty(dns.ClassANY, "example.com.", dns.TypeANY)}, dns.RcodeNotZone},
		{"data where none may be", []dns.RR{none(one("PEER 0 IN A 203.0.113.9"))}, dns.RcodeFormatError},
		{"another class", []dns.RR{empty(dns.ClassCHAOS, "PEER", dns.TypeA)}, dns.RcodeFormatError},
	} {
		z := newZone(t, nas)
		_, got := z.update(wire(t, update(test.rr, nil)), "nas")
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.what, dns.RcodeToString[got], dns.RcodeToString[test.want])
		}
	}
}

// TestUpdates tells what a member may write, and what becomes of it.
func TestUpdates(t *testing.T) {
	lines := func(l ...string) []dns.RR { return zoneText(t, l...) }
	clear := empty(dns.ClassANY, "PEER", dns.TypeANY)
	noCandidates := empty(dns.ClassANY, "_cand.PEER", dns.TypeANY)
	for _, test := range []struct {
		what    string
		changes []dns.RR
		want    int
		becomes func(*Publication)
	}{
		{"nothing", nil, dns.RcodeSuccess, func(p *Publication) {}},
		{"another address", append([]dns.RR{empty(dns.ClassANY, "PEER", dns.TypeA)}, lines("PEER 0 IN AAAA 2001:db8::7")...), dns.RcodeSuccess,
			func(p *Publication) { p.Endpoint = netip.MustParseAddrPort("[2001:db8::7]:41641") }},
		{"another port, the old one removed by value",
			append([]dns.RR{none(lines("PEER 0 IN SRV 0 0 41641 PEER")[0])}, lines("PEER 300 IN SRV 0 0 7 PEER")...), dns.RcodeSuccess,
			func(p *Publication) { p.Endpoint = netip.MustParseAddrPort("203.0.113.9:7") }},
		{"no endpoint", []dns.RR{clear, noCandidates}, dns.RcodeSuccess,
			func(p *Publication) { p.Endpoint, p.Candidates, p.Text = netip.AddrPort{}, nil, nil }},
		{"candidates without an endpoint", []dns.RR{clear}, dns.RcodeSuccess,
			func(p *Publication) { p.Endpoint, p.Text = netip.AddrPort{}, nil }},
		{"text without an endpoint", []dns.RR{empty(dns.ClassANY, "PEER", dns.TypeSRV), empty(dns.ClassANY, "PEER", dns.TypeA)}, dns.RcodeSuccess,
			func(p *Publication) { p.Endpoint = netip.AddrPort{} }},
		{"a text record more", lines(`PEER 0 IN TXT "note=here"`), dns.RcodeSuccess,
			func(p *Publication) { p.Text = append(p.Text[:len(p.Text):len(p.Text)], "note=here") }},
		{"traits", append([]dns.RR{noCandidates}, lines(`_cand.PEER 0 IN TXT "relay=1" "c0=mapped [2001:db8::7]:9" "city=x"`)...), dns.RcodeSuccess,
			func(p *Publication) {
				p.Candidates = []Candidate{{"mapped", netip.MustParseAddrPort("[2001:db8::7]:9")}}
				p.Traits = []string{"relay=1", "city=x"}
			}},
		{"no text", []dns.RR{empty(dns.ClassANY, "PEER", dns.TypeTXT)}, dns.RcodeSuccess, func(p *Publication) { p.Text = nil }},
		{"other candidates", append([]dns.RR{noCandidates}, lines(`_cand.PEER 0 IN TXT "c0=mapped [2001:db8::7]:9"`)...), dns.RcodeSuccess,
			func(p *Publication) {
				p.Candidates = []Candidate{{"mapped", netip.MustParseAddrPort("[2001:db8::7]:9")}}
			}},
		{"a service more", lines(
			`_ssh._tcp.meshd.internal. 60 IN PTR nas._ssh._tcp.meshd.internal.`,
			`nas._ssh._tcp.meshd.internal. 60 IN SRV 0 0 22 nas.meshd.internal.`), dns.RcodeSuccess,
			func(p *Publication) {
				p.Services = append(p.Services[:2:2], Service{Instance: "nas", Type: "_ssh._tcp", Port: 22})
			}},
		{"a service less", []dns.RR{
			empty(dns.ClassANY, `FILES\032on\032nas._http._tcp.meshd.internal.`, dns.TypeANY),
			none(lines(`_http._tcp.meshd.internal. 60 IN PTR Files\032on\032nas._http._tcp.meshd.internal.`)[0])}, dns.RcodeSuccess,
			func(p *Publication) { p.Services = p.Services[:1] }},

		{"a second address", lines("PEER 0 IN A 203.0.113.10"), dns.RcodeRefused, nil},
		{"a port without an address", []dns.RR{empty(dns.ClassANY, "PEER", dns.TypeA)}, dns.RcodeRefused, nil},
		{"an address to nobody", append([]dns.RR{empty(dns.ClassANY, "PEER", dns.TypeA)}, lines("PEER 0 IN A 0.0.0.0")...), dns.RcodeRefused, nil},
		{"another target", append([]dns.RR{empty(dns.ClassANY, "PEER", dns.TypeSRV)}, lines("PEER 0 IN SRV 0 0 7 laptop.meshd.internal.")...), dns.RcodeRefused, nil},
		{"another's key in its text", append([]dns.RR{empty(dns.ClassANY, "PEER", dns.TypeTXT)}, lines(`PEER 0 IN TXT "pub=CQAAAA="`)...), dns.RcodeRefused, nil},
		{"candidates that are none", lines(`_cand.PEER 0 IN TXT "c0=host 1.2.3.4"`), dns.RcodeRefused, nil},
		{"its own host name", lines("nas.meshd.internal. 60 IN A 192.0.2.1"), dns.RcodeRefused, nil},
		{"another's host name", lines("laptop.meshd.internal. 60 IN A 192.0.2.1"), dns.RcodeRefused, nil},
		{"another's peer", lines(laptopPeer + " 0 IN A 192.0.2.1"), dns.RcodeRefused, nil},
		{"another's list entry", []dns.RR{none(lines("_wireguard._udp.meshd.internal. 0 IN PTR " + laptopPeer)[0])}, dns.RcodeRefused, nil},
		{"another's service", lines("Notes._http._tcp.meshd.internal. 0 IN SRV 0 0 1 nas.meshd.internal."), dns.RcodeRefused, nil},
		{"a service on another's host", lines("x._http._tcp.meshd.internal. 0 IN SRV 0 0 1 laptop.meshd.internal."), dns.RcodeRefused, nil},
		{"a host without a service", lines("tv.nas.meshd.internal. 0 IN A 192.0.2.1"), dns.RcodeRefused, nil},
		{"text without a service", lines(`x._http._tcp.meshd.internal. 0 IN TXT "a=b"`), dns.RcodeRefused, nil},
		{"a whole list", []dns.RR{empty(dns.ClassANY, "_wireguard._udp.meshd.internal.", dns.TypePTR)}, dns.RcodeRefused, nil},
		{"the whole list of a type", []dns.RR{empty(dns.ClassANY, "_http._tcp.meshd.internal.", dns.TypeANY)}, dns.RcodeRefused, nil},
		{"the zone's SOA", lines("meshd.internal. 0 IN SOA a. b. 1 2 3 4 5"), dns.RcodeRefused, nil},
		{"a type that isn't served", lines("PEER 0 IN MX 0 a."), dns.RcodeRefused, nil},
		{"another zone's name", lines("example.com. 0 IN A 192.0.2.1"), dns.RcodeNotZone, nil},
		{"a deletion with a TTL", []dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: nasPeer, Class: dns.ClassANY, Rrtype: dns.TypeA, Ttl: 1}}}, dns.RcodeFormatError, nil},
		{"a deletion of any type by value", []dns.RR{empty(dns.ClassNONE, "PEER", dns.TypeANY)}, dns.RcodeFormatError, nil},
		{"another class", lines("PEER 0 CH A 192.0.2.1"), dns.RcodeFormatError, nil},
		{"a record without data", []dns.RR{empty(dns.ClassINET, "PEER", dns.TypeA)}, dns.RcodeFormatError, nil},
	} {
		notes := laptop
		notes.Services = []Service{{Instance: "Notes", Type: "_http._tcp", Port: 80}}
		z := newZone(t, nas, notes)
		got, rcode := z.update(wire(t, update(nil, test.changes)), "nas")
		if rcode != test.want {
			t.Errorf("%s: got %s, want %s", test.what, dns.RcodeToString[rcode], dns.RcodeToString[test.want])
			continue
		}
		var want Publication
		if test.becomes != nil {
			want = nas.Publication
			test.becomes(&want)
		}
		if !got.Equal(want) {
			t.Errorf("%s (-got +want):\n%s", test.what, cmp.Diff(got, want, cmpopts))
		}
	}
}

func TestWhoIsOfflineKeepsItsServices(t *testing.T) {
	notes := phone
	notes.Services = []Service{{Instance: "Notes", Type: "_http._tcp", Port: 80}}
	z := newZone(t, nas, notes)
	take := zoneText(t, "NOTES._http._tcp.meshd.internal. 0 IN SRV 0 0 1 nas.meshd.internal.")
	if _, rcode := z.update(wire(t, update(nil, take)), "nas"); rcode != dns.RcodeRefused {
		t.Errorf("nas takes it: got %s, want REFUSED", dns.RcodeToString[rcode])
	}
	again := zoneText(t, "Notes._http._tcp.meshd.internal. 0 IN SRV 0 0 81 phone.meshd.internal.")
	gone := []dns.RR{empty(dns.ClassANY, "Notes._http._tcp.meshd.internal.", dns.TypeANY)}
	if p, rcode := z.update(wire(t, update(nil, append(gone, again...))), "phone"); rcode != dns.RcodeSuccess || p.Services[0].Port != 81 {
		t.Errorf("its owner changes it: got %s, %+v", dns.RcodeToString[rcode], p.Services)
	}
	notes.Online = true
	if err := z.Set(notes); err != nil {
		t.Errorf("its owner comes back: %v", err)
	}
}

func TestUpdateOfWhichZone(t *testing.T) {
	z := newZone(t, nas)
	many := make([]dns.RR, maxRecords+1)
	for i := range many {
		many[i] = empty(dns.ClassANY, "PEER", dns.TypeA)
	}
	for what, test := range map[string]struct {
		edit func(*dns.Msg)
		want int
	}{
		"another zone":           {func(m *dns.Msg) { m.Question[0].Name = "example.com." }, dns.RcodeNotAuth},
		"a name within":          {func(m *dns.Msg) { m.Question[0].Name = "nas.meshd.internal." }, dns.RcodeNotAuth},
		"another class":          {func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, dns.RcodeNotAuth},
		"a reverse zone":         {func(m *dns.Msg) { m.Question[0].Name = "96.100.in-addr.arpa." }, dns.RcodeRefused},
		"no SOA":                 {func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeA }, dns.RcodeFormatError},
		"no zone":                {func(m *dns.Msg) { m.Question = nil }, dns.RcodeFormatError},
		"too many records":       {func(m *dns.Msg) { m.Ns = many }, dns.RcodeRefused},
		"too many conditions":    {func(m *dns.Msg) { m.Answer = many }, dns.RcodeRefused},
		"the zone in upper case": {func(m *dns.Msg) { m.Question[0].Name = "MESHD.internal." }, dns.RcodeSuccess},
	} {
		m := update(nil, nil)
		test.edit(m)
		if _, got := z.update(wire(t, m), "nas"); got != test.want {
			t.Errorf("%s: got %s, want %s", what, dns.RcodeToString[got], dns.RcodeToString[test.want])
		}
	}
}

func (h *hub) registration(p Publication, old ...Service) Registration {
	return Registration{Zone: "meshd.internal", Member: "nas", Peer: nas.Key, Key: h.key("nas"), Old: old, New: p}
}

// send carries a signed message by plain DNS and returns the raw answer.
func (h *hub) send(t *testing.T, network string, s *Signed) []byte {
	t.Helper()
	c, err := dns.DialTimeout(network, h.addr.String(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(s.Data); err != nil {
		t.Fatal(err)
	}
	c.UDPSize = 4096
	answer, err := c.ReadMsgHeader(nil)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// TestRegistration: what an agent registers is what the zone says, by each way in.
func TestRegistration(t *testing.T) {
	for _, way := range []string{"udp", "tcp", "control"} {
		h := startHub(t, Member{Name: "nas", Key: nas.Key, Addresses: nas.Addresses, AllowedIPs: nas.AllowedIPs})
		old := []Service(nil)
		for step, p := range []Publication{nas.Publication, nas.Publication,
			{Endpoint: laptop.Endpoint, Services: nas.Services[1:], Text: []string{}}, {Text: []string{}}} {
			signed, err := h.registration(p, old...).Message(time.Now())
			if err != nil {
				t.Fatal(err)
			}
			var answer []byte
			if way == "control" {
				answer, err = h.Exchange(t.Context(), "nas", signed.Data)
			} else {
				answer = h.send(t, way, signed)
			}
			if err == nil {
				err = signed.Check(answer)
			}
			if err != nil {
				t.Fatalf("%s, step %d: %v", way, step, err)
			}
			if m, _ := h.Zone.Member("nas"); !m.Publication.Equal(p) {
				t.Errorf("%s, step %d: got %+v, want %+v", way, step, m.Publication, p)
			}
			old = p.Services
		}
	}
}

func TestRejections(t *testing.T) {
	other := Publication{Endpoint: laptop.Endpoint}
	for _, test := range []struct {
		what string
		edit func(*hub, *Registration)
		at   time.Duration
		want Rejection
	}{
		{"a wrong secret", func(_ *hub, r *Registration) { r.Key.Secret[0]++ }, 0, Rejection{Rcode: "NOTAUTH", TSIG: "BADSIG"}},
		{"an unknown key", func(_ *hub, r *Registration) { r.Key.Name = "none.meshd.internal." }, 0, Rejection{Rcode: "NOTAUTH", TSIG: "BADKEY"}},
		{"another zone's key", func(_ *hub, r *Registration) { r.Key.Name = "nas.example." }, 0, Rejection{Rcode: "NOTAUTH", TSIG: "BADKEY"}},
		{"another's key", func(h *hub, r *Registration) { r.Key = h.key("laptop") }, 0, Rejection{Rcode: "REFUSED"}},
		{"an hour ago", func(*hub, *Registration) {}, -time.Hour, Rejection{Rcode: "NOTAUTH", TSIG: "BADTIME"}},
		{"in an hour", func(*hub, *Registration) {}, time.Hour, Rejection{Rcode: "NOTAUTH", TSIG: "BADTIME"}},
		{"another zone", func(_ *hub, r *Registration) { r.Zone = "example.com" }, 0, Rejection{Rcode: "NOTAUTH"}},
		{"another's names", func(_ *hub, r *Registration) { r.Peer = laptop.Key }, 0, Rejection{Rcode: "REFUSED"}},
	} {
		h := startHub(t, nas, laptop)
		r := h.registration(other)
		test.edit(h, &r)
		signed, err := r.Message(time.Now().Add(test.at))
		if err != nil {
			t.Fatal(err)
		}
		for _, way := range []string{"plain", "control"} {
			var answer []byte
			if way == "plain" {
				answer = h.send(t, "udp", signed)
			} else if answer, err = h.Exchange(t.Context(), "nas", signed.Data); err != nil {
				t.Fatal(err)
			}
			var got *Rejection
			if err := signed.Check(answer); !errors.As(err, &got) {
				t.Fatalf("%s by %s: got %v, want a rejection", test.what, way, err)
			}
			if got.Rcode != test.want.Rcode || got.TSIG != test.want.TSIG {
				t.Errorf("%s by %s: got %v, want %v", test.what, way, got, &test.want)
			}
			if test.at != 0 && time.Since(got.Time).Abs() > 5*time.Second {
				t.Errorf("%s by %s: time there is %s, want now", test.what, way, got.Time)
			}
		}
		if m, _ := h.Zone.Member("nas"); !m.equal(nas) {
			t.Errorf("%s changed the zone", test.what)
		}
	}
}

// TestRegistrationBesideOthers: text and services that somebody else wrote for
// the member outlive what its agent registers.
func TestRegistrationBesideOthers(t *testing.T) {
	h := startHub(t, nas)
	own := []Service{{Instance: "nas", Type: "_ssh._tcp", Port: 22}}
	for _, p := range []Publication{{Endpoint: laptop.Endpoint, Traits: []string{"relay=1"}, Services: own}, {}, {Endpoint: nas.Endpoint}} {
		var old []Service
		if p.Services == nil {
			old = own
		}
		signed, err := h.registration(p, old...).Message(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		answer, err := h.Exchange(t.Context(), "nas", signed.Data)
		if err != nil {
			t.Fatal(err)
		}
		if err := signed.Check(answer); err != nil {
			t.Fatal(err)
		}
		want := p
		want.Text, want.Services = nas.Text, slices.Concat(nas.Services, p.Services)
		m, _ := h.Zone.Member("nas")
		slices.SortFunc(m.Services, byInstance)
		slices.SortFunc(want.Services, byInstance)
		if !m.Publication.Equal(want) {
			t.Errorf("got %+v, want %+v", m.Publication, want)
		}
	}
}

func byInstance(a, b Service) int { return strings.Compare(a.Type+a.Instance, b.Type+b.Instance) }

// TestReplay: a recorded update can't bring an old endpoint back.
func TestReplay(t *testing.T) {
	h := startHub(t, nas)
	now := time.Now()
	first, _ := h.registration(nas.Publication).Message(now)
	second, _ := h.registration(Publication{Endpoint: laptop.Endpoint}).Message(now)
	var rejected *Rejection
	for _, step := range []struct {
		what   string
		signed *Signed
		fails  bool
	}{{"first", first, false}, {"second", second, false}, {"second again", second, false}, {"first again", first, true}} {
		err := step.signed.Check(h.send(t, "udp", step.signed))
		if step.fails != errors.As(err, &rejected) || !step.fails && err != nil {
			t.Errorf("%s: got %v, failure wanted: %v", step.what, err, step.fails)
		}
	}
	older, _ := h.registration(nas.Publication).Message(now.Add(-time.Minute))
	if err := older.Check(h.send(t, "udp", older)); !errors.As(err, &rejected) || rejected.TSIG != "BADTIME" {
		t.Errorf("an older one: got %v, want BADTIME", err)
	}
}

func TestAnswersAreVerified(t *testing.T) {
	h := startHub(t, nas)
	signed, _ := h.registration(nas.Publication).Message(time.Now())
	answer := h.send(t, "udp", signed)
	answer[2] ^= 4 // AA
	if err := signed.Check(answer); err == nil {
		t.Error("a changed answer passes")
	}
	bare, _ := new(dns.Msg).SetReply(new(dns.Msg).SetUpdate("meshd.internal.")).Pack()
	if err := signed.Check(bare); err == nil {
		t.Error("an unsigned answer passes")
	}
}

func TestDeriveKey(t *testing.T) {
	key := func(master, zone, member, identity string) Key {
		k, err := DeriveKey([]byte(master), zone, member, []byte(identity))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := key("m", "meshd.internal", "nas", "id")
	if want := "key nas.meshd.internal."; k.String() != want {
		t.Errorf("got %q, want %q", k, want)
	}
	if k != key("m", "Meshd.Internal.", "NAS", "id") {
		t.Error("spelling of a name changes its key")
	}
	for _, other := range []Key{key("n", "meshd.internal", "nas", "id"), key("m", "meshd2.internal", "nas", "id"),
		key("m", "meshd.internal", "nas2", "id"), key("m", "meshd.internal", "nas", "id2")} {
		if other.Secret == k.Secret {
			t.Errorf("%s has the same secret", other)
		}
	}
}
