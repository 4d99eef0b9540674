package e2e

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// TestMTU moves ten megabytes over underlays of every size, direct and by relay,
// over IPv4 and IPv6 inside.
func TestMTU(t *testing.T) {
	l, err := lab.New()
	must(t, err)
	t.Cleanup(func() { l.Close() })
	delay := lab.Delay{OneWay: time.Millisecond}
	place := func(name, addr string) *lab.Host {
		h, err := l.Public(name, delay, netip.MustParseAddr(addr))
		must(t, err)
		return h
	}
	hub := mesh.NewHub(place("hub", mesh.HubAddr.String()), bin)
	must(t, hub.Start(t.Context()))
	a, b := mesh.NewAgent(place("a", "198.51.100.1"), bin), mesh.NewAgent(place("b", "198.51.100.2"), bin)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("a said:\n%s\nb said:\n%s", a.Log(), b.Log())
		}
	})
	for _, m := range []*mesh.Agent{a, b} {
		join, err := hub.Join(t.Context(), "--approved")
		must(t, err)
		_, err = m.Up(t.Context(), join)
		must(t, err)
	}
	must(t, a.AwaitPath(t.Context(), patience, "b", "direct"))

	link := b.Host.Link()
	for _, underlay := range []struct {
		name   string
		set    func() error
		mtu    int // what the path then carries, direct or by relay, whichever is less
		relays bool
	}{
		{"Ethernet", swallow(link, 1500), 1400, true},
		{"jumbo frames at one end", interfaceMTU(b, link, 9000), 1400, false},
		{"an interface of 1400", interfaceMTU(b, link, 1400), 1328, false},
		{"a path that swallows what is above 1380", swallow(link, 1380), 1312, true},
		{"an interface of 1280", interfaceMTU(b, link, 1280), 1200, true},
	} {
		t.Logf("the underlay is %s", underlay.name)
		must(t, underlay.set())
		copyBoth(t, a, b, "direct")
		copyBoth(t, b, a, "direct")
		awaitMTU(t, a, "b", underlay.mtu)
		awaitMTU(t, b, "a", underlay.mtu)
		if !underlay.relays {
			continue
		}
		t.Log("the direct path dies, and the copies go by relay")
		must(t, l.Cut(netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")))
		copyBoth(t, a, b, "relay")
		copyBoth(t, b, a, "relay")
		must(t, l.Heal(netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")))
		must(t, a.AwaitPath(t.Context(), 90*time.Second, "b", "direct"))
	}
}

// interfaceMTU makes an agent's line one of another MTU, both ways.
func interfaceMTU(m *mesh.Agent, line *lab.Link, bytes int) func() error {
	return func() error {
		line.SetMTU(bytes)
		return m.Host.Shell(fmt.Sprintf("ip link set wan0 mtu %d", bytes))
	}
}

// swallow makes a line drop what is larger, and say nothing.
func swallow(line *lab.Link, bytes int) func() error {
	return func() error { line.SetMTU(bytes); return nil }
}

// awaitMTU waits until `meshd status` says what the path carries.
func awaitMTU(t *testing.T, m *mesh.Agent, peer string, want int) {
	t.Helper()
	must(t, mesh.Await(t.Context(), patience, func() error {
		p, err := m.Peer(t.Context(), peer)
		if err == nil && p.MTU != want {
			err = fmt.Errorf("the path to %s carries %d, want %d", peer, p.MTU, want)
		}
		return err
	}))
}

// copyBoth copies ten megabytes over each of the mesh's address families, by a path.
func copyBoth(t *testing.T, from, to *mesh.Agent, path string) {
	t.Helper()
	const size = 10 << 20
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i * 7 >> 3)
	}
	must(t, os.WriteFile(filepath.Join(from.Host.Folder(), "run/file"), data, 0o600))
	want := fmt.Sprintf("%x", sha256.Sum256(data))
	for _, family := range []string{"-4", "-6"} {
		addr, err := from.Command(t.Context(), "ip", family, to.Host.Name)
		must(t, err)
		begun := time.Now()
		sink := to.Host.Command(t.Context(), "sh", "-c", "socat -u TCP"+family[1:]+"-LISTEN:9000,reuseaddr - | sha256sum")
		var got strings.Builder
		sink.Stdout = &got
		must(t, sink.Start())
		if family == "-6" {
			addr = "[" + addr + "]"
		}
		if _, err := from.Host.Run(t.Context(), "timeout", "60", "socat", "-u", "OPEN:/run/file",
			"TCP"+family[1:]+":"+addr+":9000,retry=20,interval=0.05"); err != nil {
			t.Fatalf("copy from %s to %s: %v", from.Host.Name, addr, err)
		}
		must(t, sink.Wait())
		if sum, _, _ := strings.Cut(got.String(), " "); sum != want {
			t.Fatalf("copy from %s to %s: checksum %s, want %s", from.Host.Name, addr, sum, want)
		}
		must(t, from.AwaitPath(t.Context(), patience, to.Host.Name, path))
		t.Logf("  10 MB from %s to %s over IPv%s in %v", from.Host.Name, to.Host.Name, family[1:], time.Since(begun).Round(10*time.Millisecond))
	}
}
