package main

import (
	"net/netip"
	"testing"
	"time"

	"meshd/agent/localapi"
)

func TestStatus(t *testing.T) {
	b := newBench(t)
	b.serveDaemon(t)
	b.do(t, "status", 0, `
		laptop  100.96.0.7, fd12::7  on meshd0 (userspace)
		hub: https://hub.example:443, connected for 3m, 12ms, relay by UDP
		NAT: endpoint-independent mapping

		NAME  ADDRESS     PATH                      SINCE  RTT    MTU   RECEIVED  SENT     HANDSHAKE  WHY
		nas   100.96.0.2  direct 203.0.113.9:41641  1h     4.6ms  1400  1.0 MiB   2.3 KiB  45s ago    pong
		old   100.96.0.3  none (offline)            -      -      -     0 B       0 B      -          offline
	`, "")
	b.do(t, "peers", 0, `
		NAME  ADDRESS     PATH                      SINCE  RTT    MTU   RECEIVED  SENT     HANDSHAKE  WHY
		nas   100.96.0.2  direct 203.0.113.9:41641  1h     4.6ms  1400  1.0 MiB   2.3 KiB  45s ago    pong
		old   100.96.0.3  none (offline)            -      -      -     0 B       0 B      -          offline
	`, "")

	s := running()
	s.Hub = localapi.Hub{URL: "https://hub.example:443", Since: noon.Add(-time.Hour), Error: "no answer from hub.example:443: timed out"}
	s.Health = []string{"coordinator away since noon: no answer"}
	s.Peers = nil
	mapped := func(addr, protocol string, untrusted bool) localapi.Endpoint {
		return localapi.Endpoint{Addr: netip.MustParseAddrPort(addr), Kind: "mapped", Protocol: protocol, Untrusted: untrusted}
	}
	s.Self.Endpoints = []localapi.Endpoint{
		mapped("62.20.0.1:1000", "", false), mapped("62.20.0.1:41641", "PCP", false), mapped("10.0.0.9:41641", "UPnP", true),
		{Addr: netip.MustParseAddrPort("192.168.1.7:41641"), Kind: "host"},
	}
	b.daemon.status = s
	b.do(t, "status", 0, `
		laptop  100.96.0.7, fd12::7  on meshd0 (userspace)
		hub: https://hub.example:443, away for 1h
		NAT: endpoint-independent mapping
		forwarded: 62.20.0.1:1000, as --advertise-endpoint says
		forwarded: 62.20.0.1:41641, by the gateway (PCP)
		forwarded: 10.0.0.9:41641, by the gateway (UPnP), but that is no public address: there is another NAT
		health: coordinator away since noon: no answer
	`, "")
	b.do(t, "peers --json", 0, "[]", "")

	s = running()
	s.Self.Inbound = "icmp,tcp/22"
	s.Relaying = &localapi.Relaying{Packets: 9, Bytes: 5 << 20}
	s.Peers[0].Path, s.Peers[0].Relay, s.Peers[0].Endpoint = "relay", "attic", ""
	s.Peers = s.Peers[:1]
	b.daemon.status = s
	b.do(t, "status", 0, `
		laptop  100.96.0.7, fd12::7  on meshd0 (userspace)
		hub: https://hub.example:443, connected for 3m, 12ms, relay by UDP
		NAT: endpoint-independent mapping
		inbound: icmp,tcp/22
		relays for members that can't reach each other: 5.0 MiB so far

		NAME  ADDRESS     PATH         SINCE  RTT    MTU   RECEIVED  SENT     HANDSHAKE  WHY
		nas   100.96.0.2  relay attic  1h     4.6ms  1400  1.0 MiB   2.3 KiB  45s ago    pong
	`, "")
}

func TestStatusOfAMeshThatIsNotUp(t *testing.T) {
	b := newBench(t)
	b.serveDaemon(t)
	tests := []struct {
		status localapi.Status
		want   string
	}{
		{localapi.Status{State: localapi.Stopped}, "mesh meshd is not up: not joined: meshd up JOIN"},
		{localapi.Status{State: localapi.Joining}, "mesh meshd is not up: joining"},
		{localapi.Status{State: localapi.Starting}, "mesh meshd is not up: bringing the interface up"},
		{localapi.Status{State: localapi.Pending, Self: localapi.Self{Name: "nas"}},
			"mesh meshd is not up: waiting for approval: on the coordinator run: meshd coordinator member approve nas"},
		{localapi.Status{State: localapi.Failed, Failure: &localapi.Error{Message: "no TUN", Hint: "modprobe tun"}},
			"mesh meshd is not up: failed: no TUN\nhint: modprobe tun"},
	}
	for _, tt := range tests {
		tt.status.Mesh = "meshd"
		b.daemon.status = tt.status
		b.do(t, "status", 1, tt.want, "")
	}
}

func TestStatusJSON(t *testing.T) {
	b := newBench(t)
	b.serveDaemon(t)
	b.daemon.status = localapi.Status{Version: "v1", Mesh: "meshd", State: localapi.Pending, Health: []string{}, Peers: []localapi.Peer{}}
	b.do(t, "status --json", 1, `
		{
		  "version": "v1",
		  "mesh": "meshd",
		  "backend": "",
		  "state": "pending",
		  "self": {
		    "name": "",
		    "key": "",
		    "addresses": null,
		    "interface": "",
		    "endpoints": null,
		    "nat": "",
		    "inbound": ""
		  },
		  "hub": {
		    "url": "",
		    "connected": false,
		    "rtt_ms": 0,
		    "udp": false
		  },
		  "peers": [],
		  "health": [],
		  "dns": {
		    "zone": "",
		    "server": "",
		    "mode": ""
		  }
		}
	`, "")
}

func TestIP(t *testing.T) {
	b := newBench(t)
	b.serveDaemon(t)
	const missing = "meshd: no member \"foo\" in mesh meshd\nhint: meshd peers"
	for _, tt := range []struct {
		line           string
		code           int
		stdout, stderr string
	}{
		{"ip", 0, "100.96.0.7\nfd12::7", ""},
		{"ip -4", 0, "100.96.0.7", ""},
		{"ip -6", 0, "fd12::7", ""},
		{"ip NAS", 0, "100.96.0.2\nfd12::2", ""},
		{"ip -4 fd12::3", 0, "100.96.0.3", ""},
		{"ip --json -4", 0, "[\n  \"100.96.0.7\"\n]", ""},
		{"ip foo", 1, "", missing},
		{"ip a b", 2, "", "meshd: meshd ip: \"b\" is too much\nhint: meshd ip --help"},
	} {
		b.do(t, tt.line, tt.code, tt.stdout, tt.stderr)
	}
	b.daemon.status.Self.Addresses = nil
	b.do(t, "ip", 1, "", "meshd: this machine has no such address\nhint: meshd status")
}

func TestPing(t *testing.T) {
	relayed := localapi.PingReply{Peer: "nas", Addr: addrs("100.96.0.2")[0], Path: "relay", Via: "relay", RTT: 42.4}
	direct := localapi.PingReply{Peer: "nas", Addr: addrs("100.96.0.2")[0], Path: "direct", Via: "203.0.113.9:41641", RTT: 12.1}
	const (
		pongRelay  = "pong from nas (100.96.0.2) via relay in 42ms"
		pongDirect = "pong from nas (100.96.0.2) via 203.0.113.9:41641 in 12ms"
		silence    = "no reply from nas: no answer from nas within 5s"
	)
	for _, tt := range []struct {
		line           string
		replies        []localapi.PingReply
		code           int
		stdout, stderr string
	}{
		{"ping nas -c 2", []localapi.PingReply{relayed, direct}, 0, pongRelay + "\n" + pongDirect, ""},
		{"ping nas -c 2", []localapi.PingReply{direct}, 0, pongDirect, silence},
		{"ping nas -c 1", nil, 1, "", silence + "\nmeshd: nas does not answer\nhint: meshd status"},
		{"ping nas --until-direct", []localapi.PingReply{relayed, direct, relayed}, 0, pongRelay + "\n" + pongDirect, ""},
		{"ping nas -c 1 --until-direct", []localapi.PingReply{relayed}, 1, pongRelay, "meshd: no direct path to nas after 1 ping\nhint: meshd status"},
		{"ping nas -c 1 --json", []localapi.PingReply{relayed}, 0,
			`{"peer":"nas","addr":"100.96.0.2","path":"relay","via":"relay","rtt_ms":42.4}`, ""},
		{"ping foo", nil, 1, "", "meshd: there is no peer \"foo\"\nhint: `meshd peers` lists them"},
		{"ping", nil, 2, "", "meshd: meshd ping: PEER is missing\nhint: meshd ping --help"},
		{"ping nas -c 0", nil, 2, "", "meshd: count 0: want 1 or more\nhint: meshd ping --help"},
	} {
		b := newBench(t)
		b.serveDaemon(t)
		b.daemon.pings = tt.replies
		b.do(t, tt.line, tt.code, tt.stdout, tt.stderr)
	}
}

func TestWithoutADaemon(t *testing.T) {
	b := newBench(t)
	const none = "meshd: no meshd daemon is running on \"DIR/meshd.sock\"\nhint: start it with `meshd up`"
	for _, line := range []string{"status", "status --json", "peers", "ip", "ping nas"} {
		b.do(t, line, 1, "", none)
	}
	b.do(t, "down", 0, "", "mesh meshd is down already")
	b.do(t, "version", 0, "meshd v1.0.0", "")
	b.do(t, "version --json", 0, "{\n  \"client\": \"v1.0.0\",\n  \"daemon\": null\n}", "")
}

func TestDown(t *testing.T) {
	b := newBench(t)
	b.serveDaemon(t)
	b.do(t, "down", 0, "", "")
	if b.daemon.downs != 1 {
		t.Errorf("the daemon was told %d times to go down, want once", b.daemon.downs)
	}
}

func TestCommandLine(t *testing.T) {
	b := newBench(t)
	for _, tt := range []struct{ line, stderr string }{
		{"pign nas", "meshd: no command \"meshd pign\"\nhint: did you mean meshd ping?"},
		{"frobnicate", "meshd: no command \"meshd frobnicate\"\nhint: meshd --help"},
		{"coordinator key frobnicate", "meshd: no command \"meshd coordinator key frobnicate\"\nhint: meshd coordinator key --help"},
		{"status --jsn", "meshd: unknown flag: --jsn\nhint: meshd status --help"},
		{"status now", "meshd: meshd status: \"now\" is too much\nhint: meshd status --help"},
		{"up --port 70000", "meshd: invalid argument \"70000\" for \"--port\" flag: strconv.ParseUint: parsing \"70000\": value out of range\nhint: meshd up --help"},
		{"completion tcsh", "meshd: shell \"tcsh\" is not known\nhint: one of bash, zsh, fish, powershell"},
	} {
		b.do(t, tt.line, 2, "", tt.stderr)
	}
	b.env["MESHD_WAIT"] = "soon"
	b.do(t, "up", 2, "", "meshd: MESHD_WAIT=soon: invalid argument \"soon\" for \"--wait\" flag: time: invalid duration \"soon\"\nhint: correct or unset the variable")
}
