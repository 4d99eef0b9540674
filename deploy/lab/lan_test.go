//go:build linux

package lab

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"meshd/punch/nattest"
)

var home192 = netip.MustParsePrefix("192.168.1.0/24")

func mustNew(t *testing.T) *Lab {
	t.Helper()
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// pings tells whether a host has an answer from an address.
func pings(t *testing.T, h *Host, addr netip.Addr) bool {
	t.Helper()
	_, err := h.Run(t.Context(), "ping", "-c1", "-W1", addr.String())
	return err == nil
}

func TestIPv6IsRoutedBehindAFirewallAndCounted(t *testing.T) {
	l := mustNew(t)
	server := netip.MustParseAddr("2001:db8:f::1")
	hub, err := l.Public("server", Delay{}, netip.MustParseAddr("203.0.113.1"), server)
	if err != nil {
		t.Fatal(err)
	}
	for i, link := range []Delay{{}, {OneWay: 5 * time.Millisecond, Hops: 2}} {
		lan6 := netip.MustParsePrefix(fmt.Sprintf("2001:db8:%d::/64", i+1))
		s := mustSite(t, l, fmt.Sprintf("home%d", i), Gateway{Public: netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}), LAN: home192, LAN6: lan6, NAT: PortRestricted, Link: link})
		h := mustHost(t, s, fmt.Sprintf("laptop%d", i))
		own := address(lan6, 1)
		if pings(t, hub, own) {
			t.Errorf("%v: the firewall let in what nobody asked for", link)
		}
		before, err := l.Flows()
		if err != nil {
			t.Fatal(err)
		}
		if !pings(t, h, server) {
			t.Errorf("%v: no answer by IPv6", link)
		}
		flows, err := l.Flows()
		if err != nil {
			t.Fatal(err)
		}
		if f := (Flow{own, server}); flows[f].Packets-before[f].Packets != 1 {
			t.Errorf("%v: the core counted %d packets from %v, want 1", link, flows[f].Packets-before[f].Packets, own)
		}
		if err := l.Cut(own, server); err != nil {
			t.Fatal(err)
		}
		if pings(t, h, server) {
			t.Errorf("%v: IPv6 passes though it was cut", link)
		}
	}
}

func TestHostsOfOneGatewayThatMeetOnlyByItsPublicAddress(t *testing.T) {
	l := mustNew(t)
	for i, hairpin := range []bool{true, false} {
		carrier := nattest.Linux
		carrier.Hairpin = hairpin
		public := netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)})
		s := mustSite(t, l, fmt.Sprintf("carrier%d", i), Gateway{Public: public, LAN: netip.MustParsePrefix("100.64.0.0/24"), Translate: []nattest.NAT{carrier}, Isolated: true})
		v, err := s.VLAN("lan1", netip.MustParsePrefix("100.64.1.0/24"))
		if err != nil {
			t.Fatal(err)
		}
		a, err := s.Site(fmt.Sprintf("a%d", i), Gateway{LAN: home192, NAT: PortRestricted})
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Site(fmt.Sprintf("b%d", i), Gateway{LAN: home192, NAT: PortRestricted})
		if err != nil {
			t.Fatal(err)
		}
		c := mustHost(t, v, fmt.Sprintf("c%d", i))
		if pings(t, a.Gateway, address(s.LAN, 2)) || pings(t, a.Gateway, address(v.LAN, 1)) {
			t.Error("isolated hosts reach each other")
		}
		for n, far := range []*Host{mustHost(t, b, fmt.Sprintf("laptop%d", i)), c} {
			got := meet(t, mustHost(t, a, far.Name+"-peer"), far, public, 5000+2*n)
			if got != hairpin {
				t.Errorf("hairpin %v: %s is reached by the public address: %v", hairpin, far.Name, got)
			}
		}
	}
}

// meet has two hosts send each other datagrams at a public address, from two ports,
// and tells whether any arrived at both.
func meet(t *testing.T, a, b *Host, public netip.Addr, port int) bool {
	t.Helper()
	both := make(chan string, 2)
	for _, h := range []*Host{a, b} {
		local, remote := port, port+1
		if h == b {
			local, remote = remote, local
		}
		go func() {
			out, _ := h.Run(t.Context(), "sh", "-c", fmt.Sprintf(
				"for i in $(seq 8); do echo hello; sleep 0.1; done | socat -t 0.3 - UDP4:%s:%d,sourceport=%d", public, remote, local))
			both <- out
		}()
	}
	return strings.Contains(<-both, "hello") && strings.Contains(<-both, "hello")
}

func TestPacketsOvertakeEachOtherOnALinkWithJitter(t *testing.T) {
	l := mustNew(t)
	server := netip.MustParseAddr("203.0.113.1")
	if _, err := l.Public("server", Delay{OneWay: time.Millisecond, Jitter: 50 * time.Millisecond}, server); err != nil {
		t.Fatal(err)
	}
	h, err := l.Public("laptop", Delay{}, netip.MustParseAddr("198.51.100.1"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := h.Run(t.Context(), "ping", "-c60", "-i0.005", "-W2", server.String())
	if err != nil {
		t.Fatal(err)
	}
	last, overtaken := 0, 0
	for _, line := range strings.Split(out, "\n") {
		_, rest, ok := strings.Cut(line, "icmp_seq=")
		if !ok {
			continue
		}
		var n int
		fmt.Sscan(rest, &n)
		if n < last {
			overtaken++
		}
		last = max(last, n)
	}
	if overtaken == 0 {
		t.Errorf("everything came in order:\n%s", out)
	}
}
