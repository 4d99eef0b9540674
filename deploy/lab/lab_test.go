//go:build linux

package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"meshd/punch/nattest"
)

func mustSite(t *testing.T, l *Lab, name string, g Gateway) *Site {
	t.Helper()
	s, err := l.Site(name, g)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustHost(t *testing.T, s *Site, name string) *Host {
	t.Helper()
	h, err := s.Host(name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestTwoSitesReachAPublicHostAndAreCounted(t *testing.T) {
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	server := netip.MustParseAddr("203.0.113.1")
	if _, err := l.Public("server", Delay{}, server); err != nil {
		t.Fatal(err)
	}
	lan := netip.MustParsePrefix("192.168.1.0/24")
	for _, home := range []struct {
		name, public string
		delay        Delay
	}{
		{"near", "198.51.100.1", Delay{}},
		{"far", "198.51.100.2", Delay{OneWay: 10 * time.Millisecond}},
	} {
		s := mustSite(t, l, home.name, Gateway{Public: netip.MustParseAddr(home.public), LAN: lan, NAT: PortRestricted, Link: home.delay})
		h := mustHost(t, s, home.name+"-laptop")
		out, err := h.Run(context.Background(), "ping", "-c1", "-W2", server.String())
		if err != nil {
			t.Fatalf("ping from %s: %v", home.name, err)
		}
		t.Log(strings.Split(out, "\n")[1])
		flows, err := l.Flows()
		if err != nil {
			t.Fatal(err)
		}
		if got := flows[Flow{netip.MustParseAddr(home.public), server}].Packets; got != 1 {
			t.Errorf("the core counted %d packets from %s, want 1", got, home.name)
		}
	}

	t.Log("Cut one site off. The other one is not touched.")
	if err := l.Cut(server, netip.MustParseAddr("198.51.100.2")); err != nil {
		t.Fatal(err)
	}
	far, near := l.Host("far-laptop"), l.Host("near-laptop")
	if _, err := far.Run(context.Background(), "ping", "-c1", "-W1", server.String()); err == nil {
		t.Error("a site that was cut off still reaches the server")
	}
	if _, err := near.Run(context.Background(), "ping", "-c1", "-W1", server.String()); err != nil {
		t.Errorf("the other site: %v", err)
	}
	if err := l.Heal(server, netip.MustParseAddr("198.51.100.2")); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Run(context.Background(), "ping", "-c1", "-W1", server.String()); err != nil {
		t.Errorf("after the cut was healed: %v", err)
	}
}

func TestTranslatorsCarryUDPAndTCPAndPing(t *testing.T) {
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	addr := netip.MustParseAddr("203.0.113.1")
	server, err := l.Public("server", Delay{}, addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, proto := range []string{"UDP4-LISTEN:7,fork", "TCP4-LISTEN:7,fork"} {
		if err := server.Command(ctx, "socat", proto, "EXEC:cat").Start(); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range []struct {
		name      string
		nat       NAT
		translate []nattest.NAT
		udp       bool
	}{
		{"cone", "", []nattest.NAT{nattest.FullCone}, true},
		{"carrier", PortRestricted, []nattest.NAT{nattest.Carrier}, true},
		{"double", "", []nattest.NAT{nattest.Linux, nattest.SymmetricBlock}, true},
		{"mute", "", []nattest.NAT{nattest.Blocked}, false},
	} {
		public := netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + i)})
		s := mustSite(t, l, c.name, Gateway{Public: public, LAN: netip.MustParsePrefix("192.168.1.0/24"), NAT: c.nat, Translate: c.translate})
		h := mustHost(t, s, c.name+"-laptop")
		var seen atomic.Int64
		s.Gateway.Link().Watch(func(p Seen) {
			if p.Proto == UDP && p.Up && p.Src.Addr() == public && p.Dst == netip.AddrPortFrom(addr, 7) && string(p.Payload) == "hello" {
				seen.Add(1)
			}
		})
		if _, err := h.Run(ctx, "ping", "-c1", "-W2", addr.String()); err != nil {
			t.Errorf("%s: ping: %v", c.name, err)
		}
		script := "printf hello | socat -t0.3 - %s:203.0.113.1:7%s"
		if out, err := h.Run(ctx, "sh", "-c", fmt.Sprintf(script, "TCP4", ",retry=20,interval=0.05")); err != nil || out != "hello" {
			t.Errorf("%s: TCP came back as %q, %v", c.name, out, err)
		}
		out, err := h.Run(ctx, "sh", "-c", fmt.Sprintf(script, "UDP4", ""))
		if err != nil || (out == "hello") != c.udp || (seen.Load() == 1) != c.udp {
			t.Errorf("%s: UDP came back as %q, %v, and was seen %d times; let through: %v", c.name, out, err, seen.Load(), c.udp)
		}
	}
}

func TestClosingTheLabEndsItsProcesses(t *testing.T) {
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	h, err := l.Public("server", Delay{}, netip.MustParseAddr("203.0.113.1"))
	if err != nil {
		t.Fatal(err)
	}
	sleep := h.Command(context.Background(), "sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := sleep.Wait(); err == nil {
		t.Error("a process outlived its lab")
	}
}

func TestHostsHaveAnEtcOfTheirOwn(t *testing.T) {
	before, err := os.ReadFile("/etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h, err := l.Public("server", Delay{}, netip.MustParseAddr("203.0.113.1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Shell("echo 192.0.2.77 elsewhere > /etc/new && mv /etc/new /etc/hosts"); err != nil {
		t.Fatal(err)
	}
	if out, err := h.Run(t.Context(), "getent", "hosts", "elsewhere"); err != nil || !strings.HasPrefix(out, "192.0.2.77") {
		t.Errorf("the host finds %q, %v in its hosts file", out, err)
	}
	if after, err := os.ReadFile("/etc/hosts"); err != nil || string(after) != string(before) {
		t.Errorf("the machine's hosts file is now %q, %v", after, err)
	}
}
