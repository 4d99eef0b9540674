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

// underlay is what lies under a mesh of two: of family 4 or 6.
type underlay struct {
	name   string
	change func(b *mesh.Agent, line *lab.Link) error // at the one of b
	mtu    int                                       // what the path then carries, direct or by relay, whichever is less
	relays bool
}

// TestMTU moves ten megabytes over underlays of every size, direct and by relay,
// over IPv4 and IPv6 inside.
func TestMTU(t *testing.T) {
	const size = 10 << 20
	t.Run("over IPv4", func(t *testing.T) {
		mtu(t, size, mesh.HubAddr, netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"), []underlay{
			{"Ethernet", swallow(1500), 1412, true},
			{"jumbo frames at one end", interfaceMTU(9000), 1412, false},
			{"an interface of 1400", interfaceMTU(1400), 1328, false},
			{"a path that swallows what is above 1380", swallow(1380), 1312, true},
			{"an interface of 1280", interfaceMTU(1280), 1200, true},
		})
	})
	t.Run("over IPv6", func(t *testing.T) {
		mtu(t, size, hub6, netip.MustParseAddr("2001:db8::a"), netip.MustParseAddr("2001:db8::b"), []underlay{
			{"Ethernet", swallow(1500), 1412, true},
			{"a path that swallows what is above 1380", swallow(1380), 1280, true},
			{"an interface of 1280", interfaceMTU(1280), 1184, true},
		})
	})
}

// mtu has two members with these addresses copy files of a size over underlays.
func mtu(t *testing.T, size int, addrHub, addrA, addrB netip.Addr, underlays []underlay) {
	l, err := lab.New()
	must(t, err)
	t.Cleanup(func() { l.Close() })
	a, b := pairAt(t, l, lab.Delay{OneWay: time.Millisecond}, addrHub, addrA, addrB)
	link := b.Host.Link()
	for _, underlay := range underlays {
		t.Logf("the underlay is %s", underlay.name)
		must(t, underlay.change(b, link))
		copyBoth(t, a, b, size, "direct")
		copyBoth(t, b, a, size, "direct")
		awaitMTU(t, a, "b", underlay.mtu)
		awaitMTU(t, b, "a", underlay.mtu)
		if !underlay.relays {
			continue
		}
		t.Log("the direct path dies, and the copies go by relay")
		must(t, l.Cut(addrA, addrB))
		copyBoth(t, a, b, size, "relay")
		copyBoth(t, b, a, size, "relay")
		must(t, l.Heal(addrA, addrB))
		must(t, a.AwaitPath(t.Context(), 90*time.Second, "b", "direct"))
	}
}

// pairAt makes a mesh of two members with public addresses on lines of their own,
// prepares these, and waits until the two are direct.
func pairAt(t *testing.T, l *lab.Lab, line lab.Delay, addrHub, addrA, addrB netip.Addr, prepare ...func(b *mesh.Agent) error) (a, b *mesh.Agent) {
	t.Helper()
	place := func(name string, addr netip.Addr) *lab.Host {
		h, err := l.Public(name, line, addr)
		must(t, err)
		return h
	}
	hub := mesh.NewHub(place("hub", addrHub), bin)
	must(t, hub.Start(t.Context(), "--public", addrHub.String()))
	a, b = mesh.NewAgent(place("a", addrA), bin), mesh.NewAgent(place("b", addrB), bin)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("a said:\n%s\nb said:\n%s", a.Log(), b.Log())
		}
	})
	for _, f := range prepare {
		must(t, f(b))
	}
	for _, m := range []*mesh.Agent{a, b} {
		join, err := hub.Join(t.Context(), "--approved")
		must(t, err)
		_, err = m.Up(t.Context(), join)
		must(t, err)
	}
	must(t, a.AwaitPath(t.Context(), patience, "b", "direct"))
	return a, b
}

// interfaceMTU makes an agent's line one of another MTU, both ways.
func interfaceMTU(bytes int) func(*mesh.Agent, *lab.Link) error {
	return func(m *mesh.Agent, line *lab.Link) error {
		line.SetMTU(bytes)
		return m.Host.Shell(fmt.Sprintf("ip link set wan0 mtu %d", bytes))
	}
}

// swallow makes a line drop what is larger, and say nothing.
func swallow(bytes int) func(*mesh.Agent, *lab.Link) error {
	return func(_ *mesh.Agent, line *lab.Link) error { line.SetMTU(bytes); return nil }
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

// copyBoth copies a file over each of the mesh's address families, by a path.
func copyBoth(t *testing.T, from, to *mesh.Agent, size int, path string) {
	t.Helper()
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
		if _, err := from.Host.Run(t.Context(), "timeout", "120", "socat", "-u", "OPEN:/run/file",
			"TCP"+family[1:]+":"+addr+":9000,retry=20,interval=0.05"); err != nil {
			t.Fatalf("copy from %s to %s: %v", from.Host.Name, addr, err)
		}
		must(t, sink.Wait())
		if sum, _, _ := strings.Cut(got.String(), " "); sum != want {
			t.Fatalf("copy from %s to %s: checksum %s, want %s", from.Host.Name, addr, sum, want)
		}
		must(t, from.AwaitPath(t.Context(), patience, to.Host.Name, path))
		t.Logf("  %d bytes from %s to %s over IPv%s in %v", size, from.Host.Name, to.Host.Name, family[1:], time.Since(begun).Round(10*time.Millisecond))
	}
}
