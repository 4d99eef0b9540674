package dnssd

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

var (
	nas = Member{
		Name: "nas", Key: [32]byte{1, 2, 3}, Online: true,
		Addresses:  []netip.Addr{netip.MustParseAddr("100.96.0.7"), netip.MustParseAddr("fd00:1:2::7")},
		AllowedIPs: []netip.Prefix{netip.MustParsePrefix("100.96.0.7/32"), netip.MustParsePrefix("192.168.7.0/24")},
		Publication: Publication{
			Endpoint: netip.MustParseAddrPort("203.0.113.9:41641"),
			Candidates: []Candidate{
				{"host", netip.MustParseAddrPort("192.168.7.2:41641")},
				{"reflexive", netip.MustParseAddrPort("203.0.113.9:41641")},
			},
			Text: []string{"nat=eim"},
			Services: []Service{
				{Instance: "Drücker.1", Type: "_ipp._tcp", Port: 631, Host: "printer", Addresses: []netip.Addr{netip.MustParseAddr("192.168.7.9")}},
				{Instance: "Files on nas", Type: "_http._tcp", Port: 8080, Text: []string{"path=/", `a\b="ü"`}},
			},
		},
	}
	laptop = Member{
		Name: "laptop", Key: [32]byte{9}, Online: true,
		Addresses:   []netip.Addr{netip.MustParseAddr("100.96.0.8")},
		Publication: Publication{Endpoint: netip.MustParseAddrPort("[2001:db8::8]:7")},
	}
	phone = Member{Name: "phone", Key: [32]byte{10}, Addresses: []netip.Addr{netip.MustParseAddr("100.96.0.10")}}
)

// Names of peers, spelled out: the padding is part of them.
const (
	nasPeer    = "aebagaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa====._wireguard._udp.meshd.internal."
	laptopPeer = "beaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa====._wireguard._udp.meshd.internal."
)

func newZone(t testing.TB, members ...Member) *Zone {
	t.Helper()
	z, err := NewZone(ZoneConfig{
		Name:     "meshd.internal",
		Prefixes: []netip.Prefix{netip.MustParsePrefix("100.96.0.0/16"), netip.MustParsePrefix("fd00:1:2::/48")},
		Server:   []netip.Addr{netip.MustParseAddr("100.96.0.1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		if err := z.Set(m); err != nil {
			t.Fatal(err)
		}
	}
	return z
}

// ask puts a question to the pure part and prints the answer: RCODE, then each
// record with its section.
func ask(z *Zone, name string, qtype uint16, access Access) []string {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	reply := new(dns.Msg)
	reply.SetReply(m)
	z.answer(reply, access, dns.MaxMsgSize)
	lines := []string{dns.RcodeToString[reply.Rcode]}
	for _, section := range []struct {
		name    string
		records []dns.RR
	}{{"", reply.Answer}, {"authority ", reply.Ns}, {"extra ", reply.Extra}} {
		for _, rr := range section.records {
			line := section.name + strings.Join(strings.Fields(rr.String()), " ")
			lines = append(lines, strings.ReplaceAll(line, nasPeer, "PEER"))
		}
	}
	return lines
}

func TestAnswers(t *testing.T) {
	z := newZone(t, nas, laptop, phone)
	soa := "authority meshd.internal. 5 IN SOA meshd.internal. hostmaster.meshd.internal. 4 60 30 86400 5"
	for _, test := range []struct {
		name  string
		qtype uint16
		want  []string
	}{
		{"_wireguard._udp.meshd.internal.", dns.TypePTR, []string{"NOERROR",
			"_wireguard._udp.meshd.internal. 60 IN PTR PEER",
			"_wireguard._udp.meshd.internal. 60 IN PTR " + laptopPeer}},
		{nasPeer, dns.TypeSRV, []string{"NOERROR", "PEER 0 IN SRV 0 0 41641 PEER", "extra PEER 0 IN A 203.0.113.9",
			`extra PEER 0 IN TXT "txtvers=1" "pub=AQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" "allowed=100.96.0.7/32,192.168.7.0/24" "nat=eim"`}},
		{nasPeer, dns.TypeA, []string{"NOERROR", "PEER 0 IN A 203.0.113.9"}},
		{nasPeer, dns.TypeAAAA, []string{"NOERROR", soa}},
		{"_cand." + nasPeer, dns.TypeTXT, []string{"NOERROR",
			`_cand.PEER 0 IN TXT "c0=host 192.168.7.2:41641" "c1=reflexive 203.0.113.9:41641"`}},
		{"_services._dns-sd._udp.meshd.internal.", dns.TypePTR, []string{"NOERROR",
			"_services._dns-sd._udp.meshd.internal. 60 IN PTR _http._tcp.meshd.internal.",
			"_services._dns-sd._udp.meshd.internal. 60 IN PTR _ipp._tcp.meshd.internal.",
			"_services._dns-sd._udp.meshd.internal. 60 IN PTR _wireguard._udp.meshd.internal."}},
		{"lb._dns-sd._udp.meshd.internal.", dns.TypePTR, []string{"NOERROR", "lb._dns-sd._udp.meshd.internal. 60 IN PTR meshd.internal."}},
		{"_http._tcp.meshd.internal.", dns.TypePTR, []string{"NOERROR",
			`_http._tcp.meshd.internal. 60 IN PTR Files\ on\ nas._http._tcp.meshd.internal.`}},
		{`files\ ON\ nas._http._tcp.meshd.internal.`, dns.TypeSRV, []string{"NOERROR",
			`files\ ON\ nas._http._tcp.meshd.internal. 60 IN SRV 0 0 8080 nas.meshd.internal.`,
			"extra nas.meshd.internal. 60 IN A 100.96.0.7", "extra nas.meshd.internal. 60 IN AAAA fd00:1:2::7",
			`extra files\ ON\ nas._http._tcp.meshd.internal. 60 IN TXT "path=/" "a\\b=\"\195\188\""`}},
		{`Dr\195\188cker\.1._ipp._tcp.meshd.internal.`, dns.TypeSRV, []string{"NOERROR",
			`Dr\195\188cker\.1._ipp._tcp.meshd.internal. 60 IN SRV 0 0 631 printer.nas.meshd.internal.`,
			"extra printer.nas.meshd.internal. 60 IN A 192.168.7.9",
			`extra Dr\195\188cker\.1._ipp._tcp.meshd.internal. 60 IN TXT ""`}},
		{"NAS.meshd.INTERNAL.", dns.TypeA, []string{"NOERROR", "NAS.meshd.INTERNAL. 60 IN A 100.96.0.7"}},
		{"phone.meshd.internal.", dns.TypeA, []string{"NOERROR", "phone.meshd.internal. 60 IN A 100.96.0.10"}},
		{"phone.meshd.internal.", dns.TypeAAAA, []string{"NOERROR", soa}},
		{"7.0.96.100.in-addr.arpa.", dns.TypePTR, []string{"NOERROR", "7.0.96.100.in-addr.arpa. 60 IN PTR nas.meshd.internal."}},
		{reverseName(nas.Addresses[1]), dns.TypePTR, []string{"NOERROR", reverseName(nas.Addresses[1]) + " 60 IN PTR nas.meshd.internal."}},
		{"9.0.96.100.in-addr.arpa.", dns.TypePTR, []string{"NXDOMAIN",
			"authority 96.100.in-addr.arpa. 5 IN SOA meshd.internal. hostmaster.meshd.internal. 4 60 30 86400 5"}},
		{"none.meshd.internal.", dns.TypeA, []string{"NXDOMAIN", soa}},
		{"below.nas.meshd.internal.", dns.TypeA, []string{"NXDOMAIN", soa}},
		{"_udp.meshd.internal.", dns.TypeA, []string{"NOERROR", soa}}, // exists, as names below it do
		{"0.96.100.in-addr.arpa.", dns.TypeA, []string{"NOERROR",
			"authority 96.100.in-addr.arpa. 5 IN SOA meshd.internal. hostmaster.meshd.internal. 4 60 30 86400 5"}},
		{"meshd.internal.", dns.TypeSOA, []string{"NOERROR", strings.TrimPrefix(soa, "authority ")}},
		{"meshd.internal.", dns.TypeNS, []string{"NOERROR", "meshd.internal. 60 IN NS meshd.internal."}},
		{"meshd.internal.", dns.TypeA, []string{"NOERROR", "meshd.internal. 60 IN A 100.96.0.1"}},
		{"meshd.internal.", dns.TypeAXFR, []string{"REFUSED"}},
		{"example.com.", dns.TypeA, []string{"REFUSED"}},
		{"notmeshd.internal.", dns.TypeA, []string{"REFUSED"}},
		{".", dns.TypeNS, []string{"REFUSED"}},
	} {
		t.Run(test.name+" "+dns.TypeToString[test.qtype], func(t *testing.T) {
			if diff := cmp.Diff(ask(z, test.name, test.qtype, Full), test.want); diff != "" {
				t.Errorf("answer (-got +want):\n%s", diff)
			}
		})
	}
}

func TestStrangersSeeNothingOfLANs(t *testing.T) {
	z := newZone(t, nas)
	for _, who := range []struct {
		access Access
		want   string
	}{{Full, "NOERROR"}, {Public, "NXDOMAIN"}} {
		if got := ask(z, "printer.nas.meshd.internal.", dns.TypeA, who.access)[0]; got != who.want {
			t.Errorf("a host below nas: got %s, want %s", got, who.want)
		}
	}
	printer := ask(z, `Dr\195\188cker\.1._ipp._tcp.meshd.internal.`, dns.TypeSRV, Public)
	if len(printer) < 2 || slices.ContainsFunc(printer, func(line string) bool { return strings.Contains(line, "192.168.7.9") }) {
		t.Errorf("a service there: got %q, want it without its address", printer)
	}
	if got := ask(z, "nas.meshd.internal.", dns.TypeA, Public)[0]; got != "NOERROR" {
		t.Errorf("nas: got %s, want NOERROR", got)
	}
	if got := ask(z, "_cand."+nasPeer, dns.TypeTXT, Public)[0]; got != "NXDOMAIN" {
		t.Errorf("candidates: got %s, want NXDOMAIN", got)
	}
	if got := ask(z, nasPeer, dns.TypeSRV, Public)[0]; got != "NOERROR" {
		t.Errorf("endpoint: got %s, want NOERROR", got)
	}
}

// TestChanges tells the life of a zone: each step, and what is asked after it.
func TestChanges(t *testing.T) {
	z := newZone(t)
	empty := snapshot(z)
	types := "_services._dns-sd._udp.meshd.internal."
	expect := func(step, name string, qtype uint16, want int) {
		t.Helper()
		got := len(ask(z, name, qtype, Full)) - 1
		if strings.Contains(ask(z, name, qtype, Full)[got], "SOA") {
			got = 0
		}
		if got != want {
			t.Errorf("%s: %s has %d records, want %d", step, name, got, want)
		}
	}
	set := func(m Member) {
		t.Helper()
		if err := z.Set(m); err != nil {
			t.Fatal(err)
		}
	}
	expect("empty", types, dns.TypePTR, 0)
	set(nas)
	set(laptop)
	expect("two members", types, dns.TypePTR, 3)
	expect("two members", "_wireguard._udp.meshd.internal.", dns.TypePTR, 2)

	gone := nas
	gone.Online = false
	set(gone)
	expect("nas offline", "_wireguard._udp.meshd.internal.", dns.TypePTR, 1)
	expect("nas offline", nasPeer, dns.TypeANY, 0)
	expect("nas offline", "nas.meshd.internal.", dns.TypeA, 1)

	moved := nas
	moved.Endpoint = netip.MustParseAddrPort("[2001:db8::1]:9")
	moved.Services = nil
	set(moved)
	expect("nas moved to IPv6", nasPeer, dns.TypeA, 0)
	expect("nas moved to IPv6", nasPeer, dns.TypeAAAA, 1)
	expect("nas without services", types, dns.TypePTR, 1)
	expect("nas without services", "printer.nas.meshd.internal.", dns.TypeA, 0)

	rotated := nas
	rotated.Key = [32]byte{77}
	set(rotated)
	expect("nas with a new key", nasPeer, dns.TypeSRV, 0)
	expect("nas with a new key", "_wireguard._udp.meshd.internal.", dns.TypePTR, 2)

	if err := z.Replace([]Member{phone}); err != nil {
		t.Fatal(err)
	}
	expect("only the phone", "phone.meshd.internal.", dns.TypeA, 1)
	expect("only the phone", "_wireguard._udp.meshd.internal.", dns.TypePTR, 0)
	z.Remove("phone")
	if diff := cmp.Diff(snapshot(z), empty); diff != "" {
		t.Errorf("names left over (-got +want):\n%s", diff)
	}
}

func snapshot(z *Zone) []string {
	var names []string
	z.names.Range(func(k, _ any) bool {
		names = append(names, k.(string))
		return true
	})
	slices.Sort(names)
	return names
}

func TestSetRejects(t *testing.T) {
	for _, test := range []struct {
		what string
		want string
		edit func(*Member)
	}{
		{"another's key", "belongs to nas", func(m *Member) { m.Key = nas.Key }},
		{"another's address", "belongs to nas", func(m *Member) { m.Addresses = nas.Addresses }},
		{"another's service", "belongs to nas", func(m *Member) { m.Services = nas.Services[1:] }},
		{"a name of two labels", "is no label", func(m *Member) { m.Name = "a.b" }},
		{"a long name", "1 to 63", func(m *Member) { m.Name = strings.Repeat("a", 64) }},
		{"a service without a name", "not 1 to 63", func(m *Member) { m.Services = []Service{{Type: "_http._tcp"}} }},
		{"the zone's own type", "zone's own", func(m *Member) { m.Services = []Service{{Instance: "a", Type: "_wireguard._udp"}} }},
		{"a bad type", "not of the form", func(m *Member) { m.Services = []Service{{Instance: "a", Type: "http"}} }},
		{"long text", "255", func(m *Member) {
			m.Services = []Service{{Instance: "a", Type: "_http._tcp", Text: []string{strings.Repeat("x", 256)}}}
		}},
		{"a service twice", "used twice", func(m *Member) {
			m.Services = []Service{{Instance: "a", Type: "_http._tcp"}, {Instance: "A", Type: "_http._tcp"}}
		}},
	} {
		z := newZone(t, nas)
		before := snapshot(z)
		m := laptop
		test.edit(&m)
		err := z.Set(m)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want %q in it", test.what, err, test.want)
		}
		if diff := cmp.Diff(snapshot(z), before); diff != "" {
			t.Errorf("%s changed the zone (-got +want):\n%s", test.what, diff)
		}
	}
}

func TestReverseZones(t *testing.T) {
	for _, test := range []struct {
		prefix      string
		count       int
		first, last string
	}{
		{"100.96.0.0/16", 1, "96.100.in-addr.arpa.", "96.100.in-addr.arpa."},
		{"100.64.0.0/10", 64, "64.100.in-addr.arpa.", "127.100.in-addr.arpa."},
		{"10.0.16.0/20", 16, "16.0.10.in-addr.arpa.", "31.0.10.in-addr.arpa."},
		{"10.1.2.3/32", 1, "3.2.1.10.in-addr.arpa.", "3.2.1.10.in-addr.arpa."},
		{"fd00:1:2::/48", 1, "2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa.", "2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa."},
		{"fd00::/9", 8, "0.d.f.ip6.arpa.", "7.d.f.ip6.arpa."},
	} {
		zones := reverseZones(netip.MustParsePrefix(test.prefix))
		if len(zones) != test.count || zones[0] != test.first || zones[len(zones)-1] != test.last {
			t.Errorf("%s: got %d zones, %s to %s; want %d, %s to %s",
				test.prefix, len(zones), zones[0], zones[len(zones)-1], test.count, test.first, test.last)
		}
	}
}

func TestNames(t *testing.T) {
	for _, label := range []string{"nas", "Files on nas", `a.b\c "d" (e);@'`, "Drücker 1", "\x00\x7f"} {
		name, err := join(label, "_http._tcp.meshd.internal.")
		if err != nil {
			t.Fatal(err)
		}
		if got, rest := cut(name); got != label || rest != "_http._tcp.meshd.internal." {
			t.Errorf("cut(%q): got %q and %q, want %q", name, got, rest, label)
		}
		rr, err := normal(text(name, 0, nil))
		if err != nil || rr.Header().Name != name {
			t.Errorf("%q comes from the wire as %q, %v", name, rr.Header().Name, err)
		}
	}
}
