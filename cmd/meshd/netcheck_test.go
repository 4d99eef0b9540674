package main

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"meshd/agent"
	"meshd/agent/localapi"
)

// home is what a check finds at most homes.
func home() localapi.Netcheck {
	no := false
	return localapi.Netcheck{
		UDP: true,
		IPv4: localapi.NetcheckFamily{
			Asked: true, UDP: true, Public: netip.MustParseAddrPort("198.51.100.10:41986"), NAT: true,
			Behaviour: localapi.NAT{Words: "port-restricted cone: …", Class: "port-restricted cone",
				Mapping: "endpoint-independent", Filtering: "address-and-port-dependent", Allocation: "preserving"},
			FilteringSure: true, Hairpin: &no, LifetimeLeast: 25, LifetimeEnds: 45,
		},
		Servers: []localapi.NetcheckServer{
			{Addr: netip.MustParseAddrPort("203.0.113.1:3478"), Answered: true, RTT: 14.6},
			{Addr: netip.MustParseAddrPort("203.0.113.1:3479")},
		},
		PortMapping: []string{"PCP", "UPnP"}, Hints: []string{"there is another NAT"}, Means: "direct with everyone",
	}
}

func TestNetcheck(t *testing.T) {
	b := newBench(t)
	b.serveDaemon(t)
	b.daemon.check = home()
	const head = `
		UDP:          yes
		IPv4:         yes, seen as 198.51.100.10:41986
		IPv6:         not asked: no server, or no address here
		NAT:          port-restricted cone: …
		hairpin:      no
`
	const tail = `		not known:    whether ports differ by address
		what tells:   a hub with two addresses, a member without NAT in the mesh, or --stun with servers at two addresses
		port mapping: PCP, UPnP
		server:       203.0.113.1:3478, 15ms
		server:       203.0.113.1:3479, no answer
		hint:         there is another NAT
		this means:   direct with everyone
	`
	b.do(t, "netcheck", 0, head+tail, "")
	b.do(t, "netcheck --lifetime", 0, head+"\t\tkept for:     25s to 45s without traffic\n"+tail, "")

	b.daemon.check = localapi.Netcheck{
		IPv4:    localapi.NetcheckFamily{Asked: true},
		Servers: []localapi.NetcheckServer{{Addr: netip.MustParseAddrPort("203.0.113.1:3478")}},
		Means:   "UDP does not get through: everything is relayed by TLS",
	}
	b.do(t, "netcheck", 1, `
		UDP:          no answer from any server
		IPv4:         no answer
		IPv6:         not asked: no server, or no address here
		port mapping: none found
		server:       203.0.113.1:3478, no answer
		this means:   UDP does not get through: everything is relayed by TLS
	`, "")
}

func TestNetcheckJSON(t *testing.T) {
	b := newBench(t)
	b.serveDaemon(t)
	b.daemon.check = home()
	b.do(t, "netcheck --json", 0, `
		{
		  "udp": true,
		  "ipv4": {
		    "asked": true,
		    "udp": true,
		    "public": "198.51.100.10:41986",
		    "nat": true,
		    "behaviour": {
		      "words": "port-restricted cone: …",
		      "class": "port-restricted cone",
		      "mapping": "endpoint-independent",
		      "filtering": "address-and-port-dependent",
		      "allocation": "preserving"
		    },
		    "mapping_sure": false,
		    "filtering_sure": true,
		    "hairpin": false,
		    "lifetime_least_s": 0,
		    "lifetime_ends_s": 0
		  },
		  "ipv6": {
		    "asked": false,
		    "udp": false,
		    "nat": false,
		    "behaviour": {
		      "words": "",
		      "class": "",
		      "mapping": "",
		      "filtering": "",
		      "allocation": ""
		    },
		    "mapping_sure": false,
		    "filtering_sure": false,
		    "hairpin": null,
		    "lifetime_least_s": 0,
		    "lifetime_ends_s": 0
		  },
		  "servers": [
		    {
		      "addr": "203.0.113.1:3478",
		      "answered": true,
		      "rtt_ms": 14.6
		    },
		    {
		      "addr": "203.0.113.1:3479",
		      "answered": false,
		      "rtt_ms": 0
		    }
		  ],
		  "port_mapping": [
		    "PCP",
		    "UPnP"
		  ],
		  "hints": [
		    "there is another NAT"
		  ],
		  "means": "direct with everyone"
		}
	`, "")
}

// With servers named no daemon is asked.
func TestNetcheckWithoutADaemon(t *testing.T) {
	b := newBench(t)
	b.do(t, "netcheck", 1, "", "meshd: no meshd daemon is running on \"DIR/meshd.sock\"\nhint: name a STUN server: meshd netcheck --stun HOST[:PORT]")
	var asked agent.NetcheckConfig
	b.netcheck = func(_ context.Context, c agent.NetcheckConfig) (localapi.Netcheck, error) {
		asked = c
		return home(), nil
	}
	b.run(t.Context(), strings.Fields("netcheck --stun a.example --stun [2001:db8::1]:3479 --lifetime"))
	if got := strings.Join(asked.Servers, " "); got != "a.example [2001:db8::1]:3479" || !asked.Lifetime {
		t.Errorf("asked %+v", asked)
	}
	b.netcheck = func(context.Context, agent.NetcheckConfig) (localapi.Netcheck, error) {
		return localapi.Netcheck{}, localapi.WithHint(errors.New(`no address of "a.example"`), "name one that exists")
	}
	b.do(t, "netcheck --stun a.example", 1, "", "meshd: no address of \"a.example\"\nhint: name one that exists")
	b.do(t, "netcheck now", 2, "", "meshd: meshd netcheck: \"now\" is too much\nhint: meshd netcheck --help")
}

func TestWhy(t *testing.T) {
	b := newBench(t)
	b.serveDaemon(t)
	b.daemon.why = localapi.Why{
		Peer: "desk", Path: "relay", Since: noon.Add(-3 * time.Minute), Crossing: "never",
		SelfNAT: localapi.NAT{Words: "symmetric: …"},
		Verdict: "both NATs …", Advice: "switch on UPnP …",
		Attempts: []localapi.Attempt{
			{At: noon.Add(-time.Minute), Took: 4012, Cause: "traffic", Verdict: "no reply from 2 addresses", Tried: []localapi.Tried{
				{Addr: netip.MustParseAddrPort("192.168.1.2:41641"), Kind: "host", Probes: 9},
				{Addr: netip.MustParseAddrPort("198.51.100.30:41641"), Kind: "reflexive", Probes: 8, Heard: true, RTT: 23.4},
			}},
			{At: noon.Add(-5 * time.Second), Took: 5000, Cause: "retry", Verdict: "running", Strategy: "birthday", Spent: 420, Sockets: 1},
		},
	}
	b.do(t, "why desk", 0, `
		desk:        by the hub's relay for 3m
		why:         both NATs …
		what helps:  switch on UPnP …
		NAT here:    symmetric: …
		NAT there:   not known

		1m ago, for 4s, because of "traffic": no reply from 2 addresses
		  ADDRESS              KIND       PROBES  HEARD  RTT
		  192.168.1.2:41641    host       9       no     -
		  198.51.100.30:41641  reflexive  8       yes    23ms

		5s ago, for 5s, because of "retry": running
		  search (birthday): 420 probes from 1 socket opened for it
	`, "")
	for _, tt := range []struct {
		path, endpoint, want string
	}{
		{"direct", "203.0.113.9:41641", "desk:        direct by 203.0.113.9:41641 for 3m, 12ms"},
		{"tls", "", "desk:        by the hub's relay over TLS for 3m"},
		{"none", "", "desk:        not reached"},
	} {
		b.daemon.why = localapi.Why{Peer: "desk", Path: tt.path, Endpoint: tt.endpoint, Since: noon.Add(-3 * time.Minute), RTT: 12.3}
		b.do(t, "why desk", 0, tt.want+"\nNAT here:    not known\nNAT there:   not known", "")
	}
	for _, tt := range []struct {
		mtu  int
		want string
	}{
		{0, "one by one: bundles (UDP segmentation offload) get lost"},
		{1400, "packets of 1400 bytes, one by one: bundles (UDP segmentation offload) get lost"},
	} {
		b.daemon.why = localapi.Why{Peer: "desk", Path: "tls", Since: noon, MTU: tt.mtu, Singly: true}
		b.do(t, "why desk", 0, "desk:        by the hub's relay over TLS for 0s\ncarries:     "+tt.want+"\nNAT here:    not known\nNAT there:   not known", "")
	}
	b.do(t, "why foo", 1, "", "meshd: there is no peer \"foo\"\nhint: `meshd peers` lists them")
	b.do(t, "why", 2, "", "meshd: meshd why: PEER is missing\nhint: meshd why --help")
}

func TestWhyJSON(t *testing.T) {
	b := newBench(t)
	b.serveDaemon(t)
	b.daemon.why = localapi.Why{Peer: "desk", Path: "none", Attempts: []localapi.Attempt{{At: noon, Tried: []localapi.Tried{}}}}
	b.do(t, "why desk --json", 0, `
		{
		  "peer": "desk",
		  "path": "none",
		  "endpoint": "",
		  "reason": "",
		  "rtt_ms": 0,
		  "mtu": 0,
		  "self_nat": {
		    "words": "",
		    "class": "",
		    "mapping": "",
		    "filtering": "",
		    "allocation": ""
		  },
		  "peer_nat": {
		    "words": "",
		    "class": "",
		    "mapping": "",
		    "filtering": "",
		    "allocation": ""
		  },
		  "crossing": "",
		  "verdict": "",
		  "advice": "",
		  "attempts": [
		    {
		      "at": "2026-11-21T12:00:00Z",
		      "took_ms": 0,
		      "cause": "",
		      "verdict": "",
		      "tried": []
		    }
		  ]
		}
	`, "")
}
