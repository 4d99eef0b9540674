package portmap

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

// unhex reads bytes that are grouped for the eye.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var nonce = pcpNonce{0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab}

const (
	pcpMapRequest = `02 01 0000 00001c20 00000000 00000000 0000ffff c0a80102
		a0a1a2a3a4a5a6a7a8a9aaab 11 000000 a2a9 a2a9 00000000 00000000 0000ffff 00000000`
	pcpMapAnswer = `02 81 00 00 00000e10 00000100 00000000 00000000 00000000
		a0a1a2a3a4a5a6a7a8a9aaab 11 000000 a2a9 c350 00000000 00000000 0000ffff 3e140001`
	pcpPinholeAnswer = `02 81 00 00 00000e10 00000100 00000000 00000000 00000000
		a0a1a2a3a4a5a6a7a8a9aaab 11 000000 a2a9 a2a9 2a000000 00000000 00000000 00000002`
	pcpAnnounceAnswer = `02 80 00 00 00000000 0000002a 00000000 00000000 00000000`
	pcpRefusal        = `02 81 00 02 00000708 00000100 00000000 00000000 00000000`
)

func TestPCPRequest(t *testing.T) {
	m := pcpMapping{nonce: nonce, internal: 41641, external: netip.MustParseAddrPort("0.0.0.0:41641")}
	got := appendPCPMap(nil, 7200*time.Second, netip.MustParseAddr("192.168.1.2"), m)
	if want := unhex(t, pcpMapRequest); !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

func TestParsePCP(t *testing.T) {
	mapping := func(external string) pcpMapping {
		return pcpMapping{nonce, 41641, netip.MustParseAddrPort(external)}
	}
	for _, c := range []struct {
		name, in string
		want     pcpResponse
		err      string
	}{
		{"MAP", pcpMapAnswer, pcpResponse{1, 0, time.Hour, 256, mapping("62.20.0.1:50000")}, ""},
		{"MAP of IPv6", pcpPinholeAnswer, pcpResponse{1, 0, time.Hour, 256, mapping("[2a00::2]:41641")}, ""},
		{"ANNOUNCE", pcpAnnounceAnswer, pcpResponse{0, 0, 0, 42, pcpMapping{}}, ""},
		{"not authorized, header alone", pcpRefusal, pcpResponse{1, 2, 30 * time.Minute, 256, pcpMapping{}}, ""},
		{"with an option after it", pcpMapAnswer + "03000000", pcpResponse{1, 0, time.Hour, 256, mapping("62.20.0.1:50000")}, ""},
		{"nothing", "", pcpResponse{}, "PCP answer of 0 bytes"},
		{"NAT-PMP's", "00 80 0001 00000000", pcpResponse{}, "answer in version 0, not PCP's 2"},
		{"a later version", "03 81 0001 00000000", pcpResponse{}, "answer in version 3, not PCP's 2"},
		{"a request", pcpMapRequest, pcpResponse{}, "PCP request instead of an answer"},
		{"cut short in the header", "02 80 00 00 00000000", pcpResponse{}, "PCP answer of 8 bytes"},
		{"cut short in the body", pcpMapAnswer[:len(pcpMapAnswer)-9], pcpResponse{}, "PCP MAP answer of 56 bytes"},
		{"an odd length", pcpMapAnswer + "00", pcpResponse{}, "PCP answer of 61 bytes"},
		{"too long", pcpMapAnswer + strings.Repeat("00", 1044), pcpResponse{}, "PCP answer of 1104 bytes"},
		{"for TCP", strings.Replace(pcpMapAnswer, " 11 ", " 06 ", 1), pcpResponse{}, "PCP answer for IP protocol 6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parsePCP(unhex(t, c.in))
			if got != c.want || errText(err) != c.err {
				t.Errorf("got %+v, %q\nwant %+v, %q", got, errText(err), c.want, c.err)
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func FuzzParsePCP(f *testing.F) {
	for _, s := range []string{pcpMapAnswer, pcpPinholeAnswer, pcpAnnounceAnswer, pcpRefusal, pcpMapRequest} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parsePCP(b)
		if err != nil || r.opcode != pcpMap || r.mapping == (pcpMapping{}) {
			return
		}
		again := appendPCPMap(nil, r.lifetime, netip.IPv4Unspecified(), r.mapping)
		if got, want := again[pcpHeader:pcpHeader+12], b[pcpHeader:pcpHeader+12]; !bytes.Equal(got, want) {
			t.Errorf("nonce %x became %x", want, got)
		}
		if got, want := again[pcpHeader+16:], b[pcpHeader+16:pcpMapSize]; !bytes.Equal(got, want) {
			t.Errorf("mapping %x became %x", want, got)
		}
	})
}

func TestEpoch(t *testing.T) {
	type told struct {
		after time.Duration
		up    uint32
		want  bool
	}
	for name, story := range map[string][]told{
		"in step":                       {{0, 100, true}, {60 * time.Second, 160, true}, {120 * time.Second, 220, true}},
		"a second back is rounding":     {{0, 100, true}, {0, 99, true}},
		"two seconds back is a restart": {{0, 100, true}, {0, 98, false}},
		"restarted, then in step":       {{0, 100, true}, {60 * time.Second, 3, false}, {70 * time.Second, 13, true}},
		"a slow clock":                  {{0, 100, true}, {160 * time.Second, 252, true}},
		"stood still while we ran":      {{0, 100, true}, {60 * time.Second, 101, false}},
		"ran while we stood still":      {{0, 100, true}, {time.Second, 200, false}},
		"the whole range":               {{0, 1<<32 - 1, true}, {time.Second, 0, false}},
	} {
		t.Run(name, func(t *testing.T) {
			var e epoch
			for i, s := range story {
				if got := e.observe(epochStart.Add(s.after), uptime{true, s.up}); got != s.want {
					t.Errorf("telling %d: got %v, want %v", i+1, got, s.want)
				}
			}
		})
	}
	var e epoch
	if !e.observe(epochStart, uptime{}) || e.heard {
		t.Error("an uptime that is not known must not count")
	}
}

func TestTrust(t *testing.T) {
	for _, c := range []struct {
		addr              string
		reachable, public bool
	}{
		{"62.20.0.1", true, true},
		{"203.0.113.9", true, true}, // for documentation, but labs need addresses too
		{"10.1.2.3", true, false},
		{"172.31.0.1", true, false},
		{"192.168.0.10", true, false},
		{"100.64.0.1", true, false},
		{"100.127.255.255", true, false},
		{"100.128.0.1", true, true},
		{"192.0.0.4", true, false},
		{"198.19.0.1", true, false},
		{"0.0.0.0", false, false},
		{"127.0.0.1", false, false},
		{"169.254.1.1", false, false},
		{"224.0.0.1", false, false},
		{"255.255.255.255", false, false},
		{"2a00::2", true, true},
		{"fd00::1", true, false},
		{"fe80::1", false, false},
		{"::", false, false},
		{"::ffff:62.20.0.1", false, false},
	} {
		a := netip.MustParseAddr(c.addr)
		if reachable(a) != c.reachable || Public(a) != c.public {
			t.Errorf("%v: got %v, %v, want %v, %v", a, reachable(a), Public(a), c.reachable, c.public)
		}
	}
}

func TestOnGateway(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("fe80::1%eth0")
	for _, c := range []struct {
		gateway netip.Addr
		url     string
		want    string // empty: refused
	}{
		{v4, "http://192.168.1.1:5000/rootDesc.xml", "192.168.1.1:5000"},
		{v4, "http://192.168.1.1/", "192.168.1.1:80"},
		{v4, "http://192.168.1.7:5000/", ""},
		{v4, "http://127.0.0.1:5000/", ""},
		{v4, "http://router.lan:5000/", ""},
		{v4, "http://[2a00::1]:5000/", ""},
		{v4, "http://192.168.1.1:0/", ""},
		{v4, "http://192.168.1.1:99999/", ""},
		{v4, "https://192.168.1.1:5000/", ""},
		{v4, "file:///etc/passwd", ""},
		{v6, "http://[2a00::1]:5000/rootDesc.xml", "[fe80::1%eth0]:5000"},
		{v6, "http://[fe80::1]:5000/rootDesc.xml", "[fe80::1%eth0]:5000"},
		{v6, "http://192.168.1.1:5000/", ""},
	} {
		u, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		got, err := onGateway(u, c.gateway)
		if (err == nil) != (c.want != "") || err == nil && got.String() != c.want {
			t.Errorf("%s: got %v, %v, want %q", c.url, got, err, c.want)
		}
	}
}

func FuzzSSDPLocation(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nLOCATION: http://192.168.1.1:5000/rootDesc.xml\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nLOCATION: http://192.168.1.66/evil\r\n\r\n"))
	f.Add([]byte("NOTIFY * HTTP/1.1\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nCONTENT-LENGTH: -1\r\nLOCATION: :\r\n\r\n"))
	gateway := netip.MustParseAddr("192.168.1.1")
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := ssdpLocation(b, gateway)
		if err != nil {
			return
		}
		if host, err := netip.ParseAddr(u.Hostname()); err != nil || host != gateway {
			t.Errorf("%q leads to %v", b, u)
		}
	})
}

// describeServices is the description of a device with services at /0, /1 ….
func describeServices(base string, types ...string) string {
	var list strings.Builder
	for i, t := range types {
		fmt.Fprintf(&list, "<service><serviceType>urn:schemas-upnp-org:service:%s</serviceType><controlURL>%s/%d</controlURL></service>", t, base, i)
	}
	return `<?xml version="1.0" encoding="us-ascii"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device><friendlyName>fake</friendlyName>` +
		`<deviceList><device><serviceList>` + list.String() + `</serviceList></device></deviceList></device></root>`
}

func description1(base string) string { return describeServices(base, "WANIPConnection:1") }

func FuzzDescription(f *testing.F) {
	f.Add([]byte(description1("http://127.0.0.1:1/")))
	f.Add([]byte(`<?xml version="1.0" encoding="ISO-8859-1"?><root xmlns="urn:schemas-upnp-org:device-1-0"><URLBase>::</URLBase></root>`))
	f.Add([]byte(strings.Repeat("<a>", 100)))
	u, _ := url.Parse("http://192.168.1.1:5000/rootDesc.xml")
	f.Fuzz(func(t *testing.T, b []byte) {
		root, err := parseDescription(bytes.NewReader(b), u)
		if err != nil {
			return
		}
		connections(root, u)
		pinholes(root, u)
	})
}
