//go:build guest

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
	"meshd/punch/nattest"
)

// The stories of this file need a kernel with WireGuard, and do to it what only a
// guest can bear: "make guest" runs them.

// megabyte is half of one here: which way it goes is seen as well, and an emulated
// machine is busy with it for seconds.
const megabyte = 1 << 19

// loopbacks are the addresses that stand in for peers without a direct path.
var loopbacks = netip.MustParsePrefix("127.128.0.0/9")

// endpoint is where the kernel of an agent sends a member's packets, as `wg` says.
func endpoint(t *testing.T, of *mesh.Agent, peer string) (netip.AddrPort, error) {
	t.Helper()
	p, err := of.Peer(t.Context(), peer)
	must(t, err)
	out, err := of.Host.Run(t.Context(), "wg", "show", "meshd0", "endpoints")
	if err != nil {
		return netip.AddrPort{}, err
	}
	for line := range strings.Lines(out) {
		if key, addr, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok && key == p.Key {
			return netip.ParseAddrPort(addr)
		}
	}
	return netip.AddrPort{}, fmt.Errorf("wg shows no peer %s (%s):\n%s", peer, p.Key, out)
}

// awaitEndpoint waits until the kernel sends a member's packets to an address.
func awaitEndpoint(t *testing.T, of *mesh.Agent, peer string, want netip.Prefix) {
	t.Helper()
	must(t, mesh.Await(t.Context(), patience, func() error {
		got, err := endpoint(t, of, peer)
		if err == nil && !want.Contains(got.Addr()) {
			err = fmt.Errorf("the kernel of %s sends to %s at %v, want %v", of.Host.Name, peer, got, want)
		}
		return err
	}))
}

func one(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// backend is the kind of WireGuard that an agent says it uses.
func backend(t *testing.T, a *mesh.Agent, want string) {
	t.Helper()
	s, err := a.Status(t.Context())
	must(t, err)
	if s.Backend != want {
		t.Fatalf("%s uses the backend %q, want %q\n%s", a.Host.Name, s.Backend, want, a.Log())
	}
}

// TestKernel is one world for many stories, since each takes long to begin.
func TestKernel(t *testing.T) {
	w := world(t)
	w.Desk.Backend = "userspace"
	join(t, w, w.Laptop, w.Nas, w.Desk)
	backend(t, w.Laptop, "kernel")
	backend(t, w.Nas, "kernel")
	backend(t, w.Desk, "userspace")
	must(t, w.Laptop.AwaitPath(t.Context(), patience, "nas", "direct"))

	t.Log("The kernels of laptop and nas send to one another, without meshd.")
	awaitEndpoint(t, w.Laptop, "nas", one(mesh.HomeBAddr))
	awaitEndpoint(t, w.Nas, "laptop", one(mesh.HomeAAddr))
	direct := passed(t, w.Lab, mesh.HomeAAddr, mesh.HomeBAddr, func() {
		push(t, w.Laptop, w.Nas, megabyte)
		push(t, w.Nas, w.Laptop, megabyte)
	})
	if direct < 2*megabyte {
		t.Errorf("the core carried %d bytes between the homes, want at least the %d sent", direct, 2*megabyte)
	}

	t.Log("The desk's NAT can't be foretold: kernel and user space talk by relay, until the port is found.")
	must(t, w.Laptop.AwaitPing(t.Context(), patience, "desk"))
	push(t, w.Laptop, w.Desk, megabyte/4)
	push(t, w.Desk, w.Laptop, megabyte/4)

	t.Log("Nothing passes between the two homes any more.")
	must(t, w.Lab.Cut(mesh.HomeAAddr, mesh.HomeBAddr))
	push(t, w.Laptop, w.Nas, megabyte/10)
	must(t, w.Laptop.AwaitPath(t.Context(), patience, "nas", "relay"))
	awaitEndpoint(t, w.Laptop, "nas", loopbacks)

	t.Log("The way is free again.")
	must(t, w.Lab.Heal(mesh.HomeAAddr, mesh.HomeBAddr))
	must(t, w.Laptop.AwaitPath(t.Context(), 2*patience, "nas", "direct"))
	awaitEndpoint(t, w.Laptop, "nas", one(mesh.HomeBAddr))
	awaitEndpoint(t, w.Nas, "laptop", one(mesh.HomeAAddr))

	t.Run("foreign changes", func(t *testing.T) { foreignChanges(t, w) })
	t.Run("interface deleted", func(t *testing.T) { interfaceDeleted(t, w) })
	t.Run("daemon killed", func(t *testing.T) { daemonKilled(t, w) })
	t.Run("name taken", func(t *testing.T) { nameTaken(t, w) })
	t.Run("down", func(t *testing.T) { downPutsBack(t, w) })
	t.Run("module unloaded", func(t *testing.T) { moduleUnloaded(t, w) })
}

// foreignChanges has somebody else use `wg set` on the mesh's interface.
func foreignChanges(t *testing.T, w *mesh.World) {
	p, err := w.Laptop.Peer(t.Context(), "nas")
	must(t, err)
	stranger := strings.Repeat("A", 42) + "E="
	const prefix = "10.77.0.0/16"
	for _, change := range []string{
		"peer " + p.Key + " remove",
		"peer " + p.Key + " endpoint 203.0.113.99:9",
		"peer " + p.Key + " allowed-ips " + prefix,
		"peer " + stranger + " allowed-ips " + prefix,
		"listen-port 9999",
		"fwmark 0x777",
	} {
		_, err := w.Laptop.Host.Run(t.Context(), "wg", append([]string{"set", "meshd0"}, strings.Fields(change)...)...)
		must(t, err)
		awaitEndpoint(t, w.Laptop, "nas", one(mesh.HomeBAddr))
		must(t, mesh.Await(t.Context(), patience, func() error {
			out, err := w.Laptop.Host.Run(t.Context(), "wg", "show", "meshd0", "dump")
			if err == nil && (strings.Contains(out, stranger) || strings.Contains(out, prefix) || strings.Contains(out, "\t9999\t") || strings.Contains(out, "0x777")) {
				err = fmt.Errorf("after `wg set %s`:\n%s", change, out)
			}
			return err
		}))
		push(t, w.Laptop, w.Nas, megabyte/10)
	}
}

func interfaceDeleted(t *testing.T, w *mesh.World) {
	must(t, w.Laptop.Host.Shell("ip link del meshd0"))
	must(t, mesh.Await(t.Context(), patience, func() error { return w.Laptop.Host.Shell("wg show meshd0") }))
	must(t, w.Laptop.AwaitPath(t.Context(), patience, "nas", "direct"))
	push(t, w.Laptop, w.Nas, megabyte/10)
	backend(t, w.Laptop, "kernel")
}

// daemonKilled leaves the interface behind, for the next daemon to know it as ours.
func daemonKilled(t *testing.T, w *mesh.World) {
	port := func() string {
		out, err := w.Nas.Host.Run(t.Context(), "wg", "show", "meshd0", "listen-port")
		must(t, err)
		return out
	}
	before := port()
	must(t, w.Nas.Kill(t.Context()))
	must(t, w.Nas.Host.Shell("wg show meshd0"))
	_, err := w.Nas.Up(t.Context())
	must(t, err)
	if after := port(); after != before {
		t.Errorf("the port was %s and is %s now: peers would not find it without the hub", before, after)
	}
	must(t, w.Nas.AwaitPing(t.Context(), patience, "laptop"))
	push(t, w.Nas, w.Laptop, megabyte/10)
}

// nameTaken has a tunnel of wg-quick's sort under the mesh's name.
func nameTaken(t *testing.T, w *mesh.World) {
	before, err := os.ReadFile("/proc/sys/kernel/random/uuid") // something to tell the interfaces by
	must(t, err)
	alias := strings.TrimSpace(string(before))
	must(t, w.Tablet.Host.Shell("ip link add meshd0 type wireguard; ip link set meshd0 alias "+alias))
	_, err = w.Tablet.Up(t.Context(), key(t, w, "--approved"))
	refused(t, "interface taken", err, "meshd0", "wireguard")
	must(t, w.Tablet.Host.Shell("ip link show meshd0 | grep -q "+alias))
	must(t, w.Tablet.Host.Shell("ip link set meshd0 name theirs"))

	t.Log("Beside it the mesh finds its place.")
	join(t, w, w.Tablet)
	must(t, w.Tablet.AwaitPing(t.Context(), patience, "nas"))
	push(t, w.Tablet, w.Nas, megabyte/10)
	backend(t, w.Tablet, "kernel")
	must(t, w.Tablet.Host.Shell("ip link show theirs | grep -q "+alias))
}

// downPutsBack also has a daemon killed before.
func downPutsBack(t *testing.T, w *mesh.World) {
	gone := func() {
		t.Helper()
		must(t, w.Tablet.Down(t.Context()))
		out, err := w.Tablet.Host.Run(t.Context(), "sh", "-c", "ip -br link; ip -br addr; ip route")
		must(t, err)
		if strings.Contains(out, "meshd0") || strings.Contains(out, "100.96.") || !strings.Contains(out, "theirs") {
			t.Errorf("after down:\n%s", out)
		}
	}
	gone()
	_, err := w.Tablet.Up(t.Context())
	must(t, err)
	must(t, w.Tablet.Kill(t.Context()))
	must(t, w.Tablet.Host.Shell("wg show meshd0"))
	gone()
}

// moduleUnloaded takes the kernel's WireGuard away from everybody.
func moduleUnloaded(t *testing.T, w *mesh.World) {
	must(t, unix.DeleteModule("wireguard", 0))
	t.Cleanup(func() {
		f, err := os.Open("/lib/modules/wireguard.ko")
		must(t, err)
		defer f.Close()
		must(t, unix.FinitModule(int(f.Fd()), "", 0))
	})
	if err := w.Tablet.Host.Shell("ip link add w type wireguard"); err == nil {
		t.Fatal("the module is still there")
	}
	for _, a := range []*mesh.Agent{w.Laptop, w.Nas} {
		must(t, mesh.Await(t.Context(), patience, func() error {
			s, err := a.Status(t.Context())
			if err == nil && s.Backend != "userspace" {
				err = fmt.Errorf("%s uses the backend %q", a.Host.Name, s.Backend)
			}
			return err
		}))
	}
	must(t, w.Laptop.AwaitPath(t.Context(), patience, "nas", "direct"))
	push(t, w.Laptop, w.Nas, megabyte/10)

	t.Log("Who insists on it is told that it is not there.")
	must(t, w.Laptop.Down(t.Context()))
	w.Laptop.Backend = "kernel"
	_, err := w.Laptop.Up(t.Context(), key(t, w, "--approved"))
	refused(t, "kernel without module", err, "kernel", "modprobe wireguard")
}

// TestKernelCarriesTheWinnerOfASearch has a socket of its own carry a peer's
// packets: the one that a search found.
func TestKernelCarriesTheWinnerOfASearch(t *testing.T) {
	t.Parallel()
	w := world(t)
	branch := netip.MustParseAddr("198.51.100.50")
	site, err := w.Lab.Site("branch", lab.Gateway{
		Public: branch, LAN: netip.MustParsePrefix("192.168.1.0/24"), NAT: lab.SymmetricBlock,
	})
	must(t, err)
	host, err := site.Host("till")
	must(t, err)
	till := mesh.NewAgent(host, bin)
	join(t, w, w.Laptop, till)
	backend(t, till, "kernel")
	must(t, w.Laptop.AwaitPing(t.Context(), patience, "till"))
	push(t, w.Laptop, till, megabyte) // a search serves traffic
	must(t, w.Laptop.AwaitPath(t.Context(), patience, "till", "direct"))
	must(t, till.AwaitPath(t.Context(), patience, "laptop", "direct"))
	direct := passed(t, w.Lab, mesh.HomeAAddr, branch, func() { push(t, w.Laptop, till, megabyte) })
	if direct < megabyte {
		t.Errorf("the core carried %d bytes between home and branch, want at least the %d sent", direct, megabyte)
	}
	awaitEndpoint(t, w.Laptop, "till", one(branch))
	awaitEndpoint(t, till, "laptop", loopbacks)

	t.Log("A NAT that counts: its next port is foretold, and the port's own packets pass.")
	corner := netip.MustParseAddr("198.51.100.60")
	site, err = w.Lab.Site("corner", lab.Gateway{
		Public: corner, LAN: netip.MustParsePrefix("192.168.1.0/24"), Translate: []nattest.NAT{nattest.SymmetricSequential(1)},
	})
	must(t, err)
	host, err = site.Host("shop")
	must(t, err)
	shop := mesh.NewAgent(host, bin)
	join(t, w, shop)
	must(t, w.Laptop.AwaitPing(t.Context(), patience, "shop"))
	push(t, w.Laptop, shop, megabyte)
	must(t, w.Laptop.AwaitPath(t.Context(), patience, "shop", "direct"))
	awaitEndpoint(t, w.Laptop, "shop", one(corner))
	push(t, shop, w.Laptop, megabyte)
}
