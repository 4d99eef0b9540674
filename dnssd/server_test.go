package dnssd

import (
	"context"
	"encoding/base32"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = netip.MustParseAddr("127.0.0.1")

// hub is a server on loopback whose Publish feeds its zone, as a coordinator's.
type hub struct {
	*Server
	addr netip.AddrPort

	mu     sync.Mutex // guards following
	access Access     // of those that don't sign
	asked  []string
}

func (h *hub) key(member string) Key {
	k, err := DeriveKey([]byte("master"), h.Zone.Name(), member, []byte("identity of "+member))
	if err != nil {
		panic(err)
	}
	return k
}

func startHub(t testing.TB, members ...Member) *hub {
	t.Helper()
	conn, listener, err := Listen(t.Context(), netip.AddrPortFrom(loopback, 0))
	if err != nil {
		t.Fatal(err)
	}
	h := &hub{addr: addrPort(conn.LocalAddr()), access: Full}
	zone := newZone(t, members...)
	h.Server = NewServer(ServerConfig{
		Zone: zone, UDP: []net.PacketConn{conn}, TCP: []net.Listener{listener},
		Access: func(_ netip.AddrPort, key string, verified bool) Access {
			h.mu.Lock()
			defer h.mu.Unlock()
			if verified {
				return Full
			}
			return h.access
		},
		Secret: func(member string) ([]byte, bool) {
			k := h.key(member)
			_, ok := zone.Member(member)
			return k.Secret[:], ok
		},
		Publish: func(_ context.Context, member string, p Publication) error {
			m, ok := zone.Member(member)
			if !ok {
				return errNoMember
			}
			m.Publication, m.Online = p, true
			return zone.Set(m)
		},
		Asked: func(src netip.AddrPort, asker, member string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.asked = append(h.asked, strings.TrimSpace(src.Addr().String()+" "+asker)+" wants "+member)
		},
	})
	serve(t, h.Server)
	return h
}

// serve runs a server until the test is over.
func serve(t testing.TB, s *Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server ended with %v", err)
		}
	})
}

// startServer runs a server on loopback, wherever there is room.
func startServer(t testing.TB, c ServerConfig) netip.AddrPort {
	t.Helper()
	conn, listener, err := Listen(t.Context(), netip.AddrPortFrom(loopback, 0))
	if err != nil {
		t.Fatal(err)
	}
	c.UDP, c.TCP = []net.PacketConn{conn}, []net.Listener{listener}
	serve(t, NewServer(c))
	return addrPort(conn.LocalAddr())
}

func (h *hub) allow(a Access) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.access = a
}

func askHub(t *testing.T, h *hub, network string, m *dns.Msg) *dns.Msg {
	t.Helper()
	c := dns.Client{Net: network, Timeout: 3 * time.Second}
	r, _, err := c.Exchange(m, h.addr.String())
	if err != nil {
		t.Fatalf("ask %s by %s: %v", m.Question[0].Name, network, err)
	}
	return r
}

func question(name string, qtype uint16) *dns.Msg {
	return new(dns.Msg).SetQuestion(name, qtype)
}

// TestWGSDClient asks as wgsd's client does: the key in upper case with padding,
// no EDNS; and takes the answer as it does: the first answer for the SRV record,
// the first additional for the address.
func TestWGSDClient(t *testing.T) {
	long := nas
	for i := range 8 { // as much as it may say
		long.AllowedIPs = append(long.AllowedIPs, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 200, byte(100 + i), 0}), 24))
	}
	long.Text = []string{"nat=address-and-port-dependent/address-and-port-dependent/random"}
	six := long
	six.Endpoint = netip.MustParseAddrPort("[2001:db8:1111:2222:3333:4444:5555:6666]:41641")
	for _, member := range []Member{nas, long, six} {
		h := startHub(t, member)
		name := base32.StdEncoding.EncodeToString(member.Key[:]) + "._wireguard._udp.meshd.internal."
		r, _, err := new(dns.Client).ExchangeContext(t.Context(), question(name, dns.TypeSRV), h.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		srv, ok := r.Answer[0].(*dns.SRV)
		if !ok || len(r.Extra) == 0 {
			t.Fatalf("answer is no SRV record, or without additional records:\n%s", r)
		}
		var ip net.IP
		switch first := r.Extra[0].(type) {
		case *dns.A:
			ip = first.A
		case *dns.AAAA:
			ip = first.AAAA
		}
		if got := netip.AddrPortFrom(addrOf(ip), srv.Port); got != member.Endpoint || r.Truncated {
			t.Errorf("endpoint: got %s (truncated %v), want %s", got, r.Truncated, member.Endpoint)
		}
		if srv.Hdr.Ttl != 0 {
			t.Errorf("TTL: got %d, want 0", srv.Hdr.Ttl)
		}
		h.mu.Lock()
		if want := []string{"127.0.0.1 wants nas"}; !slices.Equal(h.asked, want) {
			t.Errorf("asked: got %v, want %v", h.asked, want)
		}
		h.mu.Unlock()
	}
}

// TestWGSDClientUnknown: a peer without an endpoint must have no answer, as the
// client can't bear one without an address.
func TestWGSDClientUnknown(t *testing.T) {
	h := startHub(t, phone)
	name := base32.StdEncoding.EncodeToString(phone.Key[:]) + "._wireguard._udp.meshd.internal."
	r := askHub(t, h, "udp", question(name, dns.TypeSRV))
	if r.Rcode != dns.RcodeNameError || len(r.Answer) != 0 || len(r.Ns) != 1 {
		t.Errorf("got %s, want NXDOMAIN with a SOA record", r)
	}
}

func TestTruncationLeadsToTCP(t *testing.T) {
	h := startHub(t)
	for i := range 300 {
		m := Member{Name: "m" + string(rune('a'+i/26)) + string(rune('a'+i%26)), Online: true}
		m.Key[0], m.Key[1] = byte(i), byte(i>>8)
		m.Endpoint = netip.MustParseAddrPort("203.0.113.9:41641")
		if err := h.Zone.Set(m); err != nil {
			t.Fatal(err)
		}
	}
	ptr := question("_wireguard._udp.meshd.internal.", dns.TypePTR)
	r := askHub(t, h, "udp", ptr)
	r.Compress = true
	if !r.Truncated || len(r.Answer) == 0 || r.Len() > dns.MinMsgSize {
		t.Errorf("without EDNS: %d answers in %d bytes, TC %v; want some in 512 and TC", len(r.Answer), r.Len(), r.Truncated)
	}
	ptr.SetEdns0(4096, false)
	c := dns.Client{UDPSize: 4096}
	r, _, err := c.Exchange(ptr, h.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	r.Compress = true
	if size := r.Len(); !r.Truncated || size > maxUDP || size < maxUDP-200 || r.IsEdns0() == nil {
		t.Errorf("with EDNS: %d bytes, TC %v; want almost %d, and TC", size, r.Truncated, maxUDP)
	}
	if r = askHub(t, h, "tcp", ptr); r.Truncated || len(r.Answer) != 300 {
		t.Errorf("by TCP: %d answers, TC %v; want 300", len(r.Answer), r.Truncated)
	}
}

func TestStrangers(t *testing.T) {
	h := startHub(t, nas)
	h.allow(Refuse)
	q := question(nasPeer, dns.TypeANY)
	r := askHub(t, h, "udp", q)
	if r.Rcode != dns.RcodeRefused || len(r.Answer)+len(r.Ns)+len(r.Extra) > 0 || r.Len() > q.Len() {
		t.Errorf("got %d bytes for %d:\n%s\nwant a bare REFUSED", r.Len(), q.Len(), r)
	}
	h.allow(Public)
	big := question(nasPeer, dns.TypeANY)
	big.SetEdns0(4096, false)
	r = askHub(t, h, "udp", big)
	if r.Compress = true; r.Rcode != dns.RcodeSuccess || r.Len() > dns.MinMsgSize {
		t.Errorf("public: got %d bytes, %s; want up to 512", r.Len(), dns.RcodeToString[r.Rcode])
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.asked) > 0 {
		t.Errorf("strangers made members punch: %v", h.asked)
	}
}

func TestStrangersAreRated(t *testing.T) {
	l, now := newLimiter(), time.Unix(1000, 0)
	count := func(src string) (n int) {
		for l.allow(netip.MustParseAddr(src), now) {
			n++
		}
		return n
	}
	if got := count("203.0.113.9"); got != strangerBurst {
		t.Errorf("burst: got %d, want %d", got, strangerBurst)
	}
	now = now.Add(time.Second)
	if got := count("203.0.113.9"); got != strangerRate {
		t.Errorf("after a second: got %d, want %d", got, strangerRate)
	}
	count("2001:db8::1")
	if got := count("2001:db8::2"); got != 0 {
		t.Errorf("another address of a /64: got %d, want 0", got)
	}
}

func TestMalformed(t *testing.T) {
	h := startHub(t, nas)
	two := question("nas.meshd.internal.", dns.TypeA)
	two.Question = append(two.Question, two.Question[0])
	notify := new(dns.Msg)
	notify.SetNotify("meshd.internal.")
	version := question("nas.meshd.internal.", dns.TypeA)
	version.SetEdns0(1232, false)
	version.IsEdns0().SetVersion(1)
	chaos := question("version.bind.", dns.TypeTXT)
	chaos.Question[0].Qclass = dns.ClassCHAOS
	for _, test := range []struct {
		what string
		msg  *dns.Msg
		want int
	}{
		{"two questions", two, dns.RcodeFormatError},
		{"NOTIFY", notify, dns.RcodeNotImplemented},
		{"EDNS version 1", version, dns.RcodeBadVers},
		{"another class", chaos, dns.RcodeRefused},
		{"an unsigned update", new(dns.Msg).SetUpdate("meshd.internal."), dns.RcodeRefused},
	} {
		if r := askHub(t, h, "udp", test.msg); r.Rcode != test.want {
			t.Errorf("%s: got %s, want %s", test.what, dns.RcodeToString[r.Rcode], dns.RcodeToString[test.want])
		}
	}
}

// TestForward: what isn't about the zone goes to other servers, of which the
// first is dead, and comes back whole.
func TestForward(t *testing.T) {
	far := startHub(t, nas)
	dead, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var servers atomic.Pointer[[]netip.AddrPort]
	servers.Store(&[]netip.AddrPort{addrPort(dead.LocalAddr()), far.addr})
	dead.Close()
	zone, err := NewZone(ZoneConfig{Name: "other.internal"})
	if err != nil {
		t.Fatal(err)
	}
	near := startServer(t, ServerConfig{Zone: zone, Forward: Forward(func() []netip.AddrPort { return *servers.Load() })})
	for _, test := range []struct{ name, qtype, want string }{
		{"nas.meshd.internal", "A", "nas.meshd.internal. 60 IN A 100.96.0.7"},
		{"nas.meshd.internal", "MX", "server answers NODATA"},
		{"none.meshd.internal", "A", "server answers NXDOMAIN"},
		{"nas.other.internal", "A", "server answers NXDOMAIN"},
		{"example.com", "A", "server answers REFUSED"},
		{"example.com", "what", `record type "what" is unknown`},
	} {
		got, err := Query(t.Context(), near, test.name, test.qtype)
		line := strings.Join(got, "\n")
		if err != nil {
			line = err.Error()
		}
		if line != test.want {
			t.Errorf("%s %s: got %q, want %q", test.name, test.qtype, line, test.want)
		}
	}
	servers.Store(new([]netip.AddrPort))
	if _, err := Query(t.Context(), near, "example.com", "A"); err == nil || err.Error() != "server answers SERVFAIL" {
		t.Errorf("without servers: got %v, want SERVFAIL", err)
	}
}

// TestSendLarge: what doesn't fit into a datagram goes by TCP, both ways.
func TestSendLarge(t *testing.T) {
	p := nas.Publication
	for i := range 20 {
		p.Services = append(p.Services, Service{Instance: "z" + strings.Repeat("x", i), Type: "_http._tcp", Text: []string{strings.Repeat("y", 200)}})
	}
	h := startHub(t, Member{Name: "nas", Key: nas.Key})
	signed, err := h.registration(p).Message(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	answer, err := Send(t.Context(), h.addr, signed.Data)
	if err == nil {
		err = signed.Check(answer)
	}
	if err != nil || len(signed.Data) <= maxUDP {
		t.Fatalf("update of %d bytes: %v", len(signed.Data), err)
	}
	if list, err := Query(t.Context(), h.addr, "_http._tcp.meshd.internal", "PTR"); err != nil || len(list) != 21 {
		t.Errorf("got %d services, %v; want 21", len(list), err)
	}
}

// TestRunEnds: idle TCP connections don't hold the server.
func TestRunEnds(t *testing.T) {
	h := startHub(t, nas)
	c, err := net.Dial("tcp", h.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() }) // before the hub's own cleanup
}
