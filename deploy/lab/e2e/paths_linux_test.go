package e2e

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// homes is a world in which laptop and nas talk directly.
func homes(t *testing.T) *mesh.World {
	t.Helper()
	w := world(t)
	join(t, w, w.Laptop, w.Nas)
	must(t, w.Laptop.AwaitPath(t.Context(), patience, "nas", "direct"))
	return w
}

func TestTwoHomesTalkDirectly(t *testing.T) {
	w := homes(t)
	must(t, w.Nas.AwaitPath(t.Context(), patience, "laptop", "direct"))
	var relayed uint64
	direct := passed(t, w.Lab, mesh.HomeAAddr, mesh.HomeBAddr, func() {
		relayed = passed(t, w.Lab, mesh.HomeAAddr, mesh.HubAddr, func() { push(t, w.Laptop, w.Nas, megabyte) })
	})
	if direct < megabyte {
		t.Errorf("the core carried %d bytes between the homes, want at least the %d sent", direct, megabyte)
	}
	if relayed > megabyte/10 {
		t.Errorf("%d bytes went by the hub although the path is direct", relayed)
	}
}

func TestSymmetricNATIsCrossed(t *testing.T) {
	w := world(t)
	branch := netip.MustParseAddr("198.51.100.50")
	site, err := w.Lab.Site("branch", lab.Gateway{
		Public: branch, LAN: netip.MustParsePrefix("192.168.1.0/24"), NAT: lab.SymmetricBlock,
		Link: lab.Delay{OneWay: 5 * time.Millisecond},
	})
	must(t, err)
	host, err := site.Host("till")
	must(t, err)
	till := mesh.NewAgent(host, bin)
	join(t, w, w.Laptop, till)
	must(t, w.Laptop.AwaitPing(t.Context(), patience, "till"))

	t.Log("The laptop searches the port that the gateway draws for it, and finds it.")
	push(t, w.Laptop, till, megabyte) // a search serves traffic
	must(t, w.Laptop.AwaitPath(t.Context(), 2*patience, "till", "direct"))
	must(t, till.AwaitPath(t.Context(), patience, "laptop", "direct"))
	direct := passed(t, w.Lab, mesh.HomeAAddr, branch, func() { push(t, w.Laptop, till, megabyte) })
	if direct < megabyte {
		t.Errorf("the core carried %d bytes between home and branch, want at least the %d sent", direct, megabyte)
	}
}

func TestTwoSymmetricNATsAreRelayed(t *testing.T) {
	w := world(t)
	site, err := w.Lab.Site("branch", lab.Gateway{
		Public: netip.MustParseAddr("198.51.100.50"), LAN: netip.MustParsePrefix("192.168.1.0/24"), NAT: lab.Symmetric,
		Link: lab.Delay{OneWay: 5 * time.Millisecond},
	})
	must(t, err)
	host, err := site.Host("till")
	must(t, err)
	till := mesh.NewAgent(host, bin)
	join(t, w, w.Desk, till)
	must(t, w.Desk.AwaitPing(t.Context(), patience, "till"))
	relayed := passed(t, w.Lab, mesh.OfficeAddr, mesh.HubAddr, func() { push(t, w.Desk, till, megabyte) })
	if relayed < megabyte {
		t.Errorf("the core carried %d bytes between office and hub, want at least the %d sent", relayed, megabyte)
	}
	must(t, w.Desk.AwaitPath(t.Context(), patience, "till", "relay"))
}

func TestBlockedUDPGoesByTLS(t *testing.T) {
	w := world(t)
	join(t, w, w.Tablet, w.Laptop)
	must(t, w.Tablet.AwaitPath(t.Context(), patience, "laptop", "tls"))
	push(t, w.Tablet, w.Laptop, megabyte)
	push(t, w.Laptop, w.Tablet, megabyte)
}

func TestPathDiesAndComesBack(t *testing.T) {
	w := homes(t)
	session := handshake(t, w)

	t.Log("Nothing passes between the two homes any more. The hub is still reached.")
	must(t, w.Lab.Cut(mesh.HomeAAddr, mesh.HomeBAddr))
	push(t, w.Laptop, w.Nas, megabyte/10)
	must(t, w.Laptop.AwaitPath(t.Context(), patience, "nas", "relay"))

	t.Log("The way is free again.")
	must(t, w.Lab.Heal(mesh.HomeAAddr, mesh.HomeBAddr))
	must(t, w.Laptop.AwaitPath(t.Context(), 2*patience, "nas", "direct"))
	if got := handshake(t, w); got != session {
		t.Errorf("the session of %v was replaced by one of %v: WireGuard noticed the change of path", session, got)
	}
}

// handshake is the time of the laptop's session with the nas.
func handshake(t *testing.T, w *mesh.World) string {
	t.Helper()
	p, err := w.Laptop.Peer(t.Context(), "nas")
	must(t, err)
	return p.LastHandshake.String()
}

func TestHostChangesItsAddress(t *testing.T) {
	w := homes(t)
	must(t, w.Laptop.Host.Readdress(netip.MustParseAddr("192.168.1.77")))
	push(t, w.Laptop, w.Nas, megabyte/10)
	must(t, w.Laptop.AwaitPath(t.Context(), patience, "nas", "direct"))
	must(t, w.Nas.AwaitPath(t.Context(), patience, "laptop", "direct"))
}

func TestGatewayForgetsItsMappings(t *testing.T) {
	w := homes(t)
	must(t, w.Sites["home-a"].ForgetMappings())
	push(t, w.Laptop, w.Nas, megabyte/10)
	must(t, w.Laptop.AwaitPath(t.Context(), patience, "nas", "direct"))
	must(t, w.Nas.AwaitPath(t.Context(), patience, "laptop", "direct"))
}

func TestMeshOutlivesItsHub(t *testing.T) {
	w := homes(t)

	t.Log("The hub dies. The path stays.")
	must(t, w.Hub.Kill())
	push(t, w.Laptop, w.Nas, megabyte/10)

	t.Log("An agent crashes and starts again, with no hub to ask.")
	must(t, w.Nas.Kill(t.Context()))
	_, err := w.Nas.Up(t.Context())
	must(t, err)
	must(t, w.Laptop.AwaitPing(t.Context(), patience, "nas"))
	push(t, w.Laptop, w.Nas, megabyte/10)

	t.Log("The hub is back. A newcomer reaches everybody.")
	must(t, w.Hub.Start(t.Context()))
	join(t, w, w.Tablet)
	must(t, w.Tablet.AwaitPing(t.Context(), patience, "nas"))
	must(t, w.Tablet.AwaitPing(t.Context(), patience, "laptop"))
}

func TestDownPutsEverythingBack(t *testing.T) {
	w := world(t)
	before, err := w.Laptop.Host.Run(t.Context(), "sh", "-c", "ip -br addr; ip route; ip -6 route")
	must(t, err)
	join(t, w, w.Laptop)
	must(t, w.Laptop.Down(t.Context()))
	after, err := w.Laptop.Host.Run(t.Context(), "sh", "-c", "ip -br addr; ip route; ip -6 route")
	must(t, err)
	if before != after {
		t.Errorf("before up:\n%s\nafter down:\n%s", before, after)
	}
	if out, err := w.Laptop.Command(t.Context(), "status"); err == nil {
		t.Errorf("status after down exits with 0 and says %q", out)
	} else if !strings.Contains(err.Error(), "hint: ") {
		t.Errorf("status after down gives no hint: %v", err)
	}
}
