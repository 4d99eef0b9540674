package portmap_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"meshd/deploy/lab"
	"meshd/deploy/lab/upnp"
	"meshd/punch/portmap"
)

// These tests speak with miniupnpd, as it runs on real routers. It grants no
// mappings behind documentation prefixes, so the lab has others.

const (
	patience   = 20 * time.Second
	meshPort   = 41641
	gatewayLL6 = "fe80::1"
	hostAddr6  = "2a00:1450:1::2"
)

var (
	outsideAddr = netip.MustParseAddr("62.10.0.1")
	gatewayAddr = netip.MustParseAddr("62.20.0.1")
	lanPrefix   = netip.MustParsePrefix("192.168.1.0/24")
	router4     = portmap.Gateway{Addr: netip.MustParseAddr("192.168.1.1"), Local: netip.MustParseAddr("192.168.1.2")}
	router6     = portmap.Gateway{Addr: netip.MustParseAddr(gatewayLL6 + "%eth0"), Local: netip.MustParseAddr(hostAddr6)}
)

// home is a host behind a router that runs miniupnpd, and someone outside.
type home struct {
	lab                          *lab.Lab
	outside, router, laptop, nas *lab.Host
	upnp                         *upnp.Router
}

// newHome builds a home.
func newHome(t *testing.T, public netip.Addr, c upnp.Config) *home {
	t.Helper()
	l, err := lab.New()
	must(t, err)
	t.Cleanup(func() { l.Close() })
	h := &home{lab: l}
	h.outside, err = l.Public("outside", lab.Delay{}, outsideAddr)
	must(t, err)
	site, err := l.Site("router", lab.Gateway{Public: public, LAN: lanPrefix, NAT: lab.PortRestricted})
	must(t, err)
	h.router = site.Gateway
	h.laptop, err = site.Host("laptop")
	must(t, err)
	h.nas, err = site.Host("nas")
	must(t, err)
	h.addIPv6(t)
	h.upnp, err = upnp.Start(t.Context(), site, c)
	must(t, err)
	t.Cleanup(func() {
		h.upnp.Stop(context.Background())
		if t.Failed() {
			t.Logf("miniupnpd said:\n%s", h.upnp.Log())
		}
	})
	return h
}

func (h *home) addIPv6(t *testing.T) {
	t.Helper()
	noDAD := "for f in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 > $f; done\n"
	forward := "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding\n"
	must(t, h.lab.Host("core").Shell(noDAD+forward+`
		ip -6 addr replace fe80::c1/64 dev to1 nodad
		ip -6 addr replace fe80::c2/64 dev to2 nodad
		ip -6 route replace 2a00:1450:2::1 dev to1
		ip -6 route replace 2a00:1450:1::/64 via fe80::2 dev to2`))
	must(t, h.outside.Shell(noDAD+`
		ip -6 addr replace 2a00:1450:2::1/128 dev wan0 nodad
		ip -6 route replace default via fe80::c1 dev wan0`))
	must(t, h.router.Shell(noDAD+forward+`
		ip -6 addr replace fe80::2/64 dev wan0 nodad
		ip -6 addr replace 2a00:1450:3::1/128 dev wan0 nodad
		ip -6 route replace default via fe80::c2 dev wan0
		ip -6 addr replace fe80::1/64 dev lan0 nodad
		ip -6 addr replace 2a00:1450:1::1/64 dev lan0 nodad`))
	must(t, h.laptop.Shell(noDAD+`
		ip -6 addr replace `+hostAddr6+`/64 dev eth0 nodad
		ip -6 route replace default via fe80::1 dev eth0`))
}

// opens reports whether a datagram from outside reaches the laptop and comes back.
// It comes from a new port each time: nothing but a mapping lets it in.
func (h *home) opens(t *testing.T, to netip.AddrPort) bool {
	t.Helper()
	family := "UDP4"
	if to.Addr().Is6() {
		family = "UDP6"
	}
	out, _ := h.outside.Run(t.Context(), "sh", "-c", fmt.Sprintf("echo knock | socat -T0.3 - %s:%s", family, to))
	return out == "knock\n"
}

// mapper is a Mapper that runs on the laptop.
type mapper struct {
	told  chan []portmap.Mapping
	said  *upnp.Journal
	stdin io.WriteCloser
	cmd   *exec.Cmd
	done  chan struct{}
}

func command(t *testing.T, on *lab.Host, c childConfig) *exec.Cmd {
	t.Helper()
	b, err := json.Marshal(c)
	must(t, err)
	self, err := os.Executable()
	must(t, err)
	cmd := on.Command(context.Background(), self)
	cmd.Env = append(os.Environ(), childEnv+"="+string(b))
	return cmd
}

func startMapper(t *testing.T, on *lab.Host, lifetime time.Duration, gateways ...portmap.Gateway) *mapper {
	t.Helper()
	m := &mapper{told: make(chan []portmap.Mapping, 64), done: make(chan struct{})}
	m.cmd = command(t, on, childConfig{Gateways: gateways, Port: meshPort, Lifetime: lifetime})
	m.said = new(upnp.Journal)
	m.cmd.Stderr = m.said
	var err error
	m.stdin, err = m.cmd.StdinPipe()
	must(t, err)
	out, err := m.cmd.StdoutPipe()
	must(t, err)
	must(t, m.cmd.Start())
	go func() {
		defer close(m.done)
		for in := bufio.NewScanner(out); in.Scan(); {
			var list []portmap.Mapping
			if err := json.Unmarshal(in.Bytes(), &list); err == nil {
				m.told <- list
			}
		}
	}()
	t.Cleanup(func() {
		m.stop(t)
		if t.Failed() {
			t.Logf("the mapper said:\n%s", m.said)
		}
	})
	return m
}

// next is the next list of mappings that the Mapper tells of.
func (m *mapper) next(t *testing.T, within time.Duration) []portmap.Mapping {
	t.Helper()
	select {
	case list := <-m.told:
		return list
	case <-time.After(within):
		t.Fatalf("no change of mappings within %v", within)
		return nil
	}
}

// stop ends the Mapper and returns how long that took.
func (m *mapper) stop(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	m.stdin.Close()
	select {
	case <-m.done:
	case <-time.After(patience):
		t.Fatal("the mapper does not end")
	}
	m.cmd.Wait()
	return time.Since(began)
}

func TestRealGateway(t *testing.T) {
	if !root(t) {
		return
	}
	for _, c := range []struct {
		name      string
		router    upnp.Config
		want      portmap.Protocol
		announces bool // it tells when it starts
	}{
		{"PCP", upnp.Config{}, portmap.PCP, true},
		{"NAT-PMP", upnp.Config{NoUPnP: true, NoPCP: true}, portmap.NATPMP, true},
		{"UPnP-IGD2", upnp.Config{NoNATPMP: true}, portmap.UPnP, false},
		{"UPnP-IGD1", upnp.Config{NoNATPMP: true, IGD1: true}, portmap.UPnP, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, gatewayAddr, c.router)
			at := netip.AddrPortFrom(gatewayAddr, meshPort)

			t.Log("Nobody gets in. Then the port is mapped, and a stranger gets in.")
			m := startMapper(t, h.laptop, 20*time.Second, router4)
			first := one(t, m.next(t, patience))
			if first.External != at || first.Protocol != c.want || !first.Trusted {
				t.Fatalf("got %+v, want %v by %v, trusted", first, at, c.want)
			}
			if !h.opens(t, at) {
				t.Fatal("the mapping does not let anything in")
			}

			t.Log("At half its life it is renewed.")
			again := one(t, m.next(t, 30*time.Second))
			if again.External != at || again.Expires.Sub(first.Expires) < 5*time.Second {
				t.Errorf("got %+v after %+v, want it renewed", again, first)
			}

			t.Log("The router restarts and forgets it. It is mapped again.")
			must(t, h.upnp.Reboot(t.Context()))
			if !c.announces {
				fmt.Fprintln(m.stdin, "refresh")
			}
			began := time.Now()
			await(t, "the port is open again", func() bool { return h.opens(t, at) })
			if took := time.Since(began); took > 5*time.Second { // the next renewal is later
				t.Errorf("it took %v to map the port again", took)
			}

			t.Log("When the mapper ends, nobody gets in.")
			if took := m.stop(t); took > 2500*time.Millisecond {
				t.Errorf("it took %v to end", took)
			}
			must(t, h.router.Shell("conntrack -F"))
			if h.opens(t, at) {
				t.Error("the mapping outlived the mapper")
			}
		})
	}
}

func TestRealPinhole(t *testing.T) {
	if !root(t) {
		return
	}
	for _, c := range []struct {
		name   string
		router upnp.Config
		want   portmap.Protocol
	}{
		{"PCP", upnp.Config{}, portmap.PCP},
		{"UPnP-IGD2", upnp.Config{NoNATPMP: true, NoPCP: true}, portmap.UPnP},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, gatewayAddr, c.router)
			at := netip.AddrPortFrom(router6.Local, meshPort)
			m := startMapper(t, h.laptop, 2*time.Hour, router6)
			got := one(t, m.next(t, patience))
			if got.External != at || got.Protocol != c.want || !got.Trusted {
				t.Fatalf("got %+v, want %v by %v, trusted", got, at, c.want)
			}
			if !h.opens(t, at) {
				t.Fatal("the pinhole does not let anything in")
			}
			m.stop(t)
			must(t, h.router.Shell("conntrack -F"))
			if h.opens(t, at) {
				t.Error("the pinhole outlived the mapper")
			}
		})
	}
}

func TestRealProbe(t *testing.T) {
	if !root(t) {
		return
	}
	h := newHome(t, gatewayAddr, upnp.Config{})
	out, err := command(t, h.laptop, childConfig{Gateways: []portmap.Gateway{router4, router6}, Port: meshPort, Probe: true}).Output()
	must(t, err)
	if got, want := strings.Fields(string(out)), "PCP NAT-PMP UPnP"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Two hosts want the same port: the second one gets another.
func TestRealConflict(t *testing.T) {
	if !root(t) {
		return
	}
	for name, router := range map[string]upnp.Config{"PCP": {}, "IGD1": {NoNATPMP: true, IGD1: true}, "IGD2": {NoNATPMP: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, gatewayAddr, router)
			other := portmap.Gateway{Addr: router4.Addr, Local: router4.Local.Next()}
			theirs := one(t, startMapper(t, h.nas, 2*time.Hour, other).next(t, patience))
			ours := one(t, startMapper(t, h.laptop, 2*time.Hour, router4).next(t, patience))
			if theirs.External.Port() != meshPort || ours.External.Port() == meshPort {
				t.Errorf("got %v for the first and %v for the second, want port %d and another", theirs.External, ours.External, meshPort)
			}
			if !h.opens(t, theirs.External) || !h.opens(t, ours.External) {
				t.Error("a mapping does not let anything in")
			}
		})
	}
}

// Behind carrier-grade NAT the router has a shared address. miniupnpd refuses
// then, by each protocol; that is no reason to go on at it.
func TestRealGatewayBehindCarrierGradeNAT(t *testing.T) {
	if !root(t) {
		return
	}
	h := newHome(t, netip.MustParseAddr("100.64.7.7"), upnp.Config{})
	m := startMapper(t, h.laptop, 2*time.Hour, router4)
	await(t, "all protocols were asked and refused", func() bool {
		return strings.Count(m.said.String(), "port not mapped")+strings.Count(m.said.String(), "searched for\" addr=192.168.1.1 protocol=NAT-PMP err=\"") >= 3
	})
	m.stop(t)
	if len(m.told) != 0 {
		t.Errorf("got %+v, want no mapping", <-m.told)
	}
}

func one(t *testing.T, list []portmap.Mapping) portmap.Mapping {
	t.Helper()
	if len(list) != 1 {
		t.Fatalf("got %d mappings, want 1: %+v", len(list), list)
	}
	return list[0]
}

// root reports whether namespaces can be made; without root these tests have
// nothing to do.
func root(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Log("not root: nothing tested")
	}
	return os.Geteuid() == 0
}

func await(t *testing.T, what string, true func() bool) {
	t.Helper()
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for end := time.Now().Add(patience); !true(); <-pause.C {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
