package main

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"meshd/agent/localapi"
	"meshd/agent/netcfg"
	"meshd/dnssd"
)

func TestDNSStatus(t *testing.T) {
	b := newBench(t)
	b.serveDaemon(t)
	s := running()
	s.DNS = localapi.DNS{Zone: "home.internal", Server: "100.96.0.7", Mode: "hosts",
		Reasons: []string{"resolved: systemd-resolved does not run"}, Changed: []string{"/etc/hosts has 2 names"}}
	b.daemon.status = s
	b.do(t, "dns status", 0, `
		zone:    home.internal
		server:  100.96.0.7, on this machine
		mode:    hosts: programs find the members in the hosts file
		ask:     dig @100.96.0.7 nas.home.internal
		changed: /etc/hosts has 2 names
		not:     resolved: systemd-resolved does not run
	`, "")
	b.do(t, "dns status --json", 0, `
		{
		  "zone": "home.internal",
		  "server": "100.96.0.7",
		  "mode": "hosts",
		  "reasons": [
		    "resolved: systemd-resolved does not run"
		  ],
		  "changed": [
		    "/etc/hosts has 2 names"
		  ]
		}
	`, "")

	t.Log("a mesh that has just come up is waited for")
	settled := s
	s.DNS = localapi.DNS{Zone: "home.internal", Mode: localapi.DNSPending}
	b.daemon.status, b.daemon.next = s, []localapi.Status{s, settled}
	b.do(t, "dns status", 0, `
		zone:    home.internal
		server:  100.96.0.7, on this machine
		mode:    hosts: programs find the members in the hosts file
		ask:     dig @100.96.0.7 nas.home.internal
		changed: /etc/hosts has 2 names
		not:     resolved: systemd-resolved does not run
	`, "")

	s.DNS = localapi.DNS{Zone: "home.internal", Mode: "ask", Error: "listen for DNS on 100.96.0.7:53: address already in use"}
	b.daemon.status = s
	b.do(t, "dns status", 0, `
		zone:    home.internal
		server:  none
		mode:    ask: the server answers whoever asks it; this machine's resolver is as it was
		error:   listen for DNS on 100.96.0.7:53: address already in use
	`, "")
	b.do(t, "dns query --direct nas", 1, "", `
		meshd: nobody answers for the mesh's names on this machine
		hint: meshd dns status
	`)

	s.DNS = localapi.DNS{Zone: "home.internal", Mode: "off"}
	b.daemon.status = s
	b.do(t, "dns status", 0, `
		zone:    home.internal
		server:  none, as --dns=off says
	`, "")
}

func TestDNSQueryAsTheHostDoes(t *testing.T) {
	b := newBench(t)
	l := netcfg.Lookup{Servers: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("127.0.0.53")}, Search: []string{"home.internal"}, Hosts: "100.96.0.9 printer\n"}
	b.app.lookup = func() netcfg.Lookup { return l }
	b.app.query = func(_ context.Context, server netip.AddrPort, name, qtype string) ([]string, error) {
		switch server.Addr().String() + " " + name + " " + qtype {
		case "127.0.0.53 nas.home.internal A":
			return []string{"nas.home.internal. 30 IN A 100.96.0.2"}, nil
		case "127.0.0.53 nas.home.internal AAAA":
			return nil, &dnssd.Rejection{Rcode: "NODATA"}
		}
		if server.Addr() == netip.MustParseAddr("192.0.2.1") {
			return nil, errors.New("no answer")
		}
		return nil, &dnssd.Rejection{Rcode: "NXDOMAIN"}
	}
	b.do(t, "dns query printer", 0, "printer. 0 IN A 100.96.0.9", "answered by /etc/hosts")
	b.do(t, "dns query nas", 0, "nas.home.internal. 30 IN A 100.96.0.2", "answered by 127.0.0.53")
	b.do(t, "dns query nas.home.internal", 0, "nas.home.internal. 30 IN A 100.96.0.2", "answered by 127.0.0.53")
	b.do(t, "dns query nobody", 1, "", `
		meshd: programs on this machine find no A or AAAA of nobody
		hint: meshd dns query --direct nobody asks the mesh's own server; meshd dns status tells how programs find names
	`)
}

func TestDNSQueryOfNoType(t *testing.T) {
	for _, direct := range []string{"", "--direct "} {
		newBench(t).do(t, "dns query "+direct+"nas ADRESS", 2, "", `
			meshd: meshd dns query: record type "ADRESS" is unknown: A, AAAA, PTR, SRV, TXT …
			hint: meshd dns query --help
		`)
	}
}

func TestDNSKey(t *testing.T) {
	b := newBench(t)
	b.serveDaemon(t)
	b.do(t, "dns key", 0, "key \"laptop.home.internal.\" {\n\talgorithm hmac-sha256;\n\tsecret \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\";\n};", "")
}

func TestDNSQuery(t *testing.T) {
	b := newBench(t)
	b.serveDaemon(t)
	s := running()
	s.DNS = localapi.DNS{Zone: "home.internal", Server: "100.96.0.7", Mode: "ask"}
	b.daemon.status = s
	b.app.query = func(_ context.Context, server netip.AddrPort, name, qtype string) ([]string, error) {
		if server != netip.MustParseAddrPort("100.96.0.7:53") {
			return nil, errors.New("wrong server")
		}
		switch name + " " + qtype {
		case "nas.home.internal A":
			return []string{"nas.home.internal. 30 IN A 100.96.0.2"}, nil
		case "nas.home.internal AAAA", "nas.home.internal SRV":
			return nil, &dnssd.Rejection{Rcode: "NODATA"}
		case "example.org A", "example.org AAAA":
			return nil, &dnssd.Rejection{Rcode: "REFUSED"}
		}
		return nil, &dnssd.Rejection{Rcode: "NXDOMAIN"}
	}
	b.do(t, "dns query --direct nas", 0, "nas.home.internal. 30 IN A 100.96.0.2", "")
	b.do(t, "dns query --direct nas.home.internal A", 0, "nas.home.internal. 30 IN A 100.96.0.2", "")
	b.do(t, "dns query --direct nas SRV", 1, "", "meshd: nas.home.internal has no SRV record")
	b.do(t, "dns query --direct nobody", 1, "", "meshd: there is no name nobody.home.internal\nhint: meshd peers")
	b.do(t, "dns query --direct example.org", 1, "", "meshd: example.org is not in the mesh's zone\nhint: ask this machine's resolver")
}
