package portmap

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// asked runs a client as a Mapper does, with little time: search, then ask.
func asked(t *testing.T, c client) (grant, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	if err := c.probe(ctx); err != nil {
		return grant{}, fmt.Errorf("absent: %w", err)
	}
	g, err := c.ask(ctx, grant{})
	if err == nil {
		err = g.usable()
	}
	return g, err
}

// pcpAnswerTo makes the answer of a good server to a request.
func pcpAnswerTo(request []byte, external string, lifetime, epoch uint32) []byte {
	b := slices.Clone(request)
	b[1] |= pcpAnswer
	binary.BigEndian.PutUint32(b[4:], lifetime)
	binary.BigEndian.PutUint32(b[8:], epoch)
	clear(b[12:pcpHeader])
	if b[1] == pcpAnswer|pcpMap {
		at := netip.MustParseAddrPort(external)
		a := at.Addr().As16()
		binary.BigEndian.PutUint16(b[42:], at.Port())
		copy(b[44:], a[:])
	}
	return b
}

func TestPCPClient(t *testing.T) {
	const outside = "62.20.0.1:50000"
	good := func(b []byte) []byte { return pcpAnswerTo(b, outside, 3600, 77) }
	changed := func(change func([]byte)) func([]byte) [][]byte {
		return func(b []byte) [][]byte {
			answer := good(b)
			if b[1] == pcpMap {
				change(answer)
			}
			return [][]byte{answer}
		}
	}
	var heard atomic.Int32
	for _, c := range []struct {
		name   string
		answer func([]byte) [][]byte // nil: nobody listens
		want   string                // of the error; empty: outside for an hour
	}{
		{"good", func(b []byte) [][]byte { return [][]byte{good(b)} }, ""},
		{"the first answer is lost", func(b []byte) [][]byte {
			if heard.Add(1) == 1 {
				return nil
			}
			return [][]byte{good(b)}
		}, ""},
		{"noise before the answer", func(b []byte) [][]byte {
			wrong := good(b)
			wrong[min(30, len(wrong)-1)] ^= 1 // the nonce
			if b[1] == pcpAnnounce {
				wrong = b
			}
			return [][]byte{{}, {2}, []byte("hello"), wrong, good(b)}
		}, ""},
		{"no ANNOUNCE", func(b []byte) [][]byte {
			answer := good(b)
			if b[1] == pcpAnnounce {
				answer[3] = byte(pcpUnsupportedOpcode)
			}
			return [][]byte{answer}
		}, ""},
		{"not authorized", changed(func(b []byte) { b[3] = 2 }), "not authorized"},
		{"a code of the future", changed(func(b []byte) { b[3] = 99 }), "result code 99"},
		{"no address of its own", changed(func(b []byte) { clear(b[44:]) }), "the gateway says its outside address is ::"},
		{"port 0", changed(func(b []byte) { b[42], b[43] = 0, 0 }), "the gateway granted port 0"},
		{"no lifetime", changed(func(b []byte) { clear(b[4:8]) }), "a mapping of no duration"},
		{"a second of lifetime", changed(func(b []byte) { copy(b[4:8], []byte{0, 0, 0, 1}) }), "the gateway grants 1s only"},
		{"NAT-PMP alone", func([]byte) [][]byte { return [][]byte{{0, 0x80, 0, 1, 0, 0, 0, 9}} }, "absent: answer in version 0, not PCP's 2"},
		{"only garbage", func([]byte) [][]byte { return [][]byte{[]byte("\x02\x80garbage")} }, "absent: PCP answer of 9 bytes"},
		{"hangs", func([]byte) [][]byte { return nil }, "absent: no answer"},
		{"nobody listens", nil, "connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			to := fakeTarget(t)
			if c.answer != nil {
				serveUDP(t, to.gateway.Addr, pcpPort, c.answer)
			}
			g, err := asked(t, newPCP(to))
			verdict(t, g, err, grant{external: netip.MustParseAddrPort(outside), lifetime: time.Hour, uptime: uptime{true, 77}}, c.want)
		})
	}
}

func verdict(t *testing.T, g grant, err error, want grant, wantErr string) {
	t.Helper()
	switch {
	case wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr)):
		t.Errorf("got %+v, error %v, want error %q", g, err, wantErr)
	case wantErr == "" && (err != nil || g != want):
		t.Errorf("got %+v, error %v, want %+v", g, err, want)
	}
}

func TestPCPRefusalSaysHowLong(t *testing.T) {
	to := fakeTarget(t)
	serveUDP(t, to.gateway.Addr, pcpPort, func(b []byte) [][]byte {
		answer := pcpAnswerTo(b, "62.20.0.1:1", 600, 1)
		if b[1] == pcpMap {
			answer = answer[:pcpHeader] // some leave the body out
			answer[3] = 8
		}
		return [][]byte{answer}
	})
	_, err := asked(t, newPCP(to))
	r, ok := errors.AsType[*refusal](err)
	if !ok || r.wait != 10*time.Minute || r.reason != "no resources" {
		t.Errorf("got %v, want a refusal for 10m", err)
	}
}

func natpmpAnswerTo(b []byte, code byte, addr netip.Addr) []byte {
	if b[1] == 0 {
		return append([]byte{0, 0x80, 0, code, 0, 0, 0, 88}, addr.AsSlice()...)
	}
	answer := []byte{0, 0x81, 0, code, 0, 0, 0, 88, b[4], b[5], 0xc3, 0x50}
	return append(answer, b[8:12]...)
}

func TestNATPMPClient(t *testing.T) {
	outside := netip.MustParseAddr("62.20.0.1")
	for _, c := range []struct {
		name   string
		answer func(b []byte) []byte
		want   string
	}{
		{"good", func(b []byte) []byte { return natpmpAnswerTo(b, 0, outside) }, ""},
		{"not authorized", func(b []byte) []byte {
			if b[1] == 0 {
				return natpmpAnswerTo(b, 0, outside)
			}
			return natpmpAnswerTo(b, 2, outside)
		}, "result code 2 (Not Authorized/Refused)"},
		{"no line", func(b []byte) []byte { return natpmpAnswerTo(b, 3, outside) }, "absent: result code 3"},
		{"no address of its own", func(b []byte) []byte { return natpmpAnswerTo(b, 0, netip.IPv4Unspecified()) }, "outside address is 0.0.0.0"},
		{"loopback", func(b []byte) []byte { return natpmpAnswerTo(b, 0, netip.MustParseAddr("127.0.0.1")) }, "outside address is 127.0.0.1"},
		{"another's port", func(b []byte) []byte {
			answer := natpmpAnswerTo(b, 0, outside)
			if b[1] != 0 {
				answer[9]++
			}
			return answer
		}, "answer for port 41642, not 41641"},
		{"PCP alone", func(b []byte) []byte { return unhexPCP(1) }, "absent: unknown protocol version 2"},
		{"cut short", func(b []byte) []byte { return natpmpAnswerTo(b, 0, outside)[:7] }, "absent: unexpected result size 7"},
		{"hangs", func(b []byte) []byte { return nil }, "absent: Timed out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			to := fakeTarget(t)
			serveUDP(t, to.gateway.Addr, pcpPort, func(b []byte) [][]byte {
				if answer := c.answer(b); answer != nil {
					return [][]byte{answer}
				}
				return nil
			})
			g, err := asked(t, &natpmpClient{to})
			verdict(t, g, err, grant{external: netip.AddrPortFrom(outside, 50000), lifetime: 2 * time.Hour, uptime: uptime{true, 88}}, c.want)
		})
	}
}

// unhexPCP is an error of a PCP server, header alone.
func unhexPCP(code byte) []byte {
	b := make([]byte, pcpHeader)
	b[0], b[1], b[3] = pcpVersion, pcpAnswer, code
	return b
}

// table is what a fake router has mapped, and how it behaves.
type table struct {
	mu      sync.Mutex // guards following
	address map[string]string
	leases  map[string]string // by outside port
	clients map[string]string
	taken   string // an outside port of another host
	noLease int    // error for leases other than 0
	always  int    // error for all additions
}

func (r *table) call(action string, a map[string]string) (any, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	port := a["NewExternalPort"]
	switch action {
	case "GetExternalIPAddress":
		return "<NewExternalIPAddress>" + r.address[a["service"]] + "</NewExternalIPAddress>", 0
	case "AddPortMapping", "AddAnyPortMapping":
		free := action == "AddAnyPortMapping" && port == r.taken
		switch {
		case r.always != 0:
			return nil, r.always
		case r.noLease != 0 && a["NewLeaseDuration"] != "0":
			return nil, r.noLease
		case free:
			port = "50001"
		case port == r.taken:
			return nil, upnpConflict
		}
		r.leases[port], r.clients[port] = a["NewLeaseDuration"], a["NewInternalClient"]
		return "<NewReservedPort>" + port + "</NewReservedPort>", 0
	case "GetSpecificPortMappingEntry":
		if _, ok := r.leases[port]; !ok {
			return nil, upnpNoSuchEntry
		}
		return fmt.Sprintf("<NewInternalPort>41641</NewInternalPort><NewInternalClient>%s</NewInternalClient><NewEnabled>1</NewEnabled>"+
			"<NewPortMappingDescription>x</NewPortMappingDescription><NewLeaseDuration>1</NewLeaseDuration>", r.clients[port]), 0
	case "DeletePortMapping":
		delete(r.leases, port)
		return "", 0
	}
	return nil, 401
}

func newTable(addresses ...string) *table {
	r := &table{address: map[string]string{}, leases: map[string]string{}, clients: map[string]string{}}
	for i, a := range addresses {
		r.address[fmt.Sprint(i)] = a
	}
	return r
}

func TestUPnPPortMapping(t *testing.T) {
	const ip1, ip2, ppp = "WANIPConnection:1", "WANIPConnection:2", "WANPPPConnection:1"
	leased := func(s string) grant { return grant{external: netip.MustParseAddrPort(s), lifetime: 2 * time.Hour} }
	permanent := grant{external: netip.MustParseAddrPort("62.20.0.1:41641")}
	for _, c := range []struct {
		name     string
		services []string
		router   *table
		change   func(*table)
		want     grant
		err      string
	}{
		{"IGD 1", []string{ip1}, newTable("62.20.0.1"), nil, leased("62.20.0.1:41641"), ""},
		{"IGD 2", []string{ip2}, newTable("62.20.0.1"), nil, leased("62.20.0.1:41641"), ""},
		{"PPP", []string{ppp}, newTable("62.20.0.1"), nil, leased("62.20.0.1:41641"), ""},
		{"private outside", []string{ip1}, newTable("10.0.0.9"), nil, leased("10.0.0.9:41641"), ""},
		{"the second line is up", []string{ip1, ppp}, newTable("0.0.0.0", "62.20.0.1"), nil, leased("62.20.0.1:41641"), ""},
		{"the second line is public", []string{ip1, ppp}, newTable("10.0.0.9", "62.20.0.1"), nil, leased("62.20.0.1:41641"), ""},
		{"permanent only", []string{ip1}, newTable("62.20.0.1"), func(r *table) { r.noLease = upnpPermanentOnly }, permanent, ""},
		{"permanent only, and says so badly", []string{ip1}, newTable("62.20.0.1"), func(r *table) { r.noLease = upnpActionFailed }, permanent, ""},
		{"taken, IGD 2", []string{ip2}, newTable("62.20.0.1"), func(r *table) { r.taken = "41641" }, leased("62.20.0.1:50001"), ""},
		{"no line", []string{ip1}, newTable("0.0.0.0"), nil, grant{}, "outside address is 0.0.0.0"},
		{"no address", []string{ip1}, newTable(""), nil, grant{}, `outside address is ""`},
		{"an address that is none", []string{ip1}, newTable("unknown"), nil, grant{}, `outside address is "unknown"`},
		{"not authorized", []string{ip1}, newTable("62.20.0.1"), func(r *table) { r.always = 606 }, grant{}, `error 606 "as told"`},
		{"everything taken", []string{ip1}, newTable("62.20.0.1"), func(r *table) { r.always = upnpConflict }, grant{}, `error 718 "as told"`},
		{"no WAN service", []string{"Layer3Forwarding:1"}, newTable(), nil, grant{}, `absent: device "fake" forwards no ports`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			to := fakeTarget(t)
			if c.change != nil {
				c.change(c.router)
			}
			fakeIGD{description: describeServices("%s", c.services...), soap: c.router.call}.serve(t, to.gateway.Addr)
			client := &portForwarder{target: to}
			g, err := asked(t, client)
			verdict(t, g, err, c.want, c.err)
			if err != nil {
				return
			}
			if f, err := client.check(t.Context(), g); f.lost || err != nil {
				t.Errorf("right after it was granted: got %+v, error %v", f, err)
			}
			if err := client.remove(t.Context(), g); err != nil || len(c.router.leases) != 0 {
				t.Errorf("after removal: %v, %d mappings left", err, len(c.router.leases))
			}
			if f, err := client.check(t.Context(), g); !f.lost || err != nil {
				t.Errorf("after it was removed: got %+v, error %v", f, err)
			}
		})
	}
}

func TestDescriptionBase(t *testing.T) {
	u, _ := url.Parse("http://192.168.1.1:5000/desc.xml")
	for base, want := range map[string]string{
		"":                          "http://192.168.1.1:5000/ctl/0",
		"http://192.168.1.1:49000/": "http://192.168.1.1:49000/ctl/0",
		"http://192.168.7.7:49000/": "http://192.168.1.1:5000/ctl/0",
		"::":                        "http://192.168.1.1:5000/ctl/0",
	} {
		text := strings.Replace(describeServices("ctl", "WANIPConnection:1"), "<device>", "<URLBase>"+base+"</URLBase><device>", 1)
		root, err := parseDescription(strings.NewReader(text), u)
		if err != nil {
			t.Fatal(err)
		}
		list := connections(root, u)
		if len(list) != 1 {
			t.Fatalf("base %q: got %d connections, want 1", base, len(list))
		}
		if got := list[0].GetServiceClient().SOAPClient.EndpointURL.String(); got != want {
			t.Errorf("base %q: got %s, want %s", base, got, want)
		}
	}
}

func TestUPnPPinhole(t *testing.T) {
	to := target{Gateway{netip.IPv6Loopback(), netip.IPv6Loopback()}, 41641, 7200 * time.Second}
	holes := map[string]string{}
	var mu sync.Mutex // guards holes
	router := fakeIGD{description: describeServices("%s", "WANIPConnection:2", "WANIPv6FirewallControl:1")}
	router.soap = func(action string, a map[string]string) (any, int) {
		mu.Lock()
		defer mu.Unlock()
		_, there := holes[a["UniqueID"]]
		switch {
		case action == "AddPinhole":
			holes["7"] = a["InternalClient"] + " " + a["InternalPort"] + " " + a["Protocol"] + " " + a["LeaseTime"]
			return "<UniqueID>7</UniqueID>", 0
		case !there:
			return nil, upnpNoSuchPinhole
		case action == "DeletePinhole":
			delete(holes, a["UniqueID"])
		}
		return "<PinholePackets>0</PinholePackets>", 0
	}
	router.serve(t, to.gateway.Addr)

	client := &pinholer{target: to}
	if err := client.probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	g, err := client.ask(t.Context(), grant{})
	want := grant{external: netip.MustParseAddrPort("[::1]:41641"), lifetime: 2 * time.Hour, pinhole: 7}
	if err != nil || g != want || holes["7"] != "::1 41641 17 7200" {
		t.Fatalf("got %+v, error %v, pinholes %v, want %+v", g, err, holes, want)
	}
	if f, err := client.check(t.Context(), g); f.lost || err != nil {
		t.Errorf("right after it was granted: got %+v, error %v", f, err)
	}
	if err := client.remove(t.Context(), g); err != nil || len(holes) != 0 {
		t.Errorf("after removal: %v, pinholes %v", err, holes)
	}
	if f, err := client.check(t.Context(), g); !f.lost || err != nil {
		t.Errorf("after it was removed: got %+v, error %v", f, err)
	}
}

func TestUPnPTakenPortIGD1(t *testing.T) {
	to, router := fakeTarget(t), newTable("62.20.0.1")
	router.taken = "41641"
	fakeIGD{description: description1("%s"), soap: router.call}.serve(t, to.gateway.Addr)
	client := &portForwarder{target: to}
	g, err := asked(t, client)
	if err != nil || g.external.Port() == 41641 || g.external.Port() < 1024 {
		t.Fatalf("got %+v, error %v, want another port", g, err)
	}
	t.Log("Another host takes our mapping over: it is lost.")
	router.clients[fmt.Sprint(g.external.Port())] = "192.168.1.99"
	if f, err := client.check(t.Context(), g); !f.lost || err != nil {
		t.Errorf("got %+v, error %v", f, err)
	}
	t.Log("A renewal asks for the port that we had.")
	again, err := client.ask(t.Context(), g)
	if err != nil || again.external != g.external {
		t.Errorf("got %+v, error %v, want %v", again, err, g.external)
	}
	t.Log("Nothing granted, nothing removed: the port may be another's.")
	if err := client.remove(t.Context(), grant{}); err != nil || len(router.leases) != 1 {
		t.Errorf("%v, %d mappings left", err, len(router.leases))
	}
}

// A gateway may name any URL; nobody but the gateway is ever connected to.
func TestUPnPGoesToTheGatewayOnly(t *testing.T) {
	bystander := fakeTarget(t).gateway.Addr
	var visits atomic.Int32
	victim := fakeIGD{web: func(http.ResponseWriter, *http.Request) { visits.Add(1) }}
	elsewhere := victim.serve(t, bystander)
	serve := func(w http.ResponseWriter, s string) { fmt.Fprint(w, s) }

	t.Cleanup(func() {
		if n := visits.Load(); n != 0 {
			t.Errorf("the bystander was connected to %d times", n)
		}
	})
	for name, d := range map[string]fakeIGD{
		"location elsewhere":  {location: elsewhere + "/desc.xml"},
		"redirect":            {web: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere, http.StatusFound) }},
		"control elsewhere":   {web: func(w http.ResponseWriter, r *http.Request) { serve(w, description1(elsewhere)) }},
		"no XML":              {web: func(w http.ResponseWriter, r *http.Request) { serve(w, "hello") }},
		"not found":           {web: http.NotFound},
		"hangs":               {web: func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		"endless description": {web: endless},
		"endless headers": {web: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 2*maxHeaders))
			serve(w, description1(elsewhere))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := fakeTarget(t)
			d.serve(t, to.gateway.Addr)
			began := time.Now()
			if g, err := asked(t, &portForwarder{target: to}); err == nil {
				t.Errorf("got %+v, want an error", g)
			} else {
				t.Log(err)
			}
			if took := time.Since(began); took > 1500*time.Millisecond {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func endless(w http.ResponseWriter, r *http.Request) {
	line := []byte("<a>" + strings.Repeat("x", 4000) + "</a>")
	fmt.Fprint(w, "<root>")
	for r.Context().Err() == nil {
		if _, err := w.Write(line); err != nil {
			return
		}
	}
}
