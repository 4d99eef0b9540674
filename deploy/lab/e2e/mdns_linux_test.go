package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"meshd/deploy/lab/mesh"
)

// awaitAt waits until a member is reached directly, at an address of its LAN.
func awaitAt(t *testing.T, a *mesh.Agent, peer, addr string) {
	t.Helper()
	must(t, mesh.Await(t.Context(), 2*patience, func() error {
		p, err := a.Peer(t.Context(), peer)
		if err != nil {
			return err
		}
		if p.Path != "direct" || !strings.HasPrefix(p.Endpoint, addr+":") || !p.LAN {
			return fmt.Errorf("%s reaches %s by %q at %q (%s, on the LAN: %v), want direct at %s", a.Host.Name, peer, p.Path, p.Endpoint, p.Reason, p.LAN, addr)
		}
		return nil
	}))
}

func TestLANWithoutHubAndInternet(t *testing.T) {
	w := world(t)
	home := w.Sites["home-a"]
	host, err := home.Host("phone")
	must(t, err)
	laptop, phone := w.Laptop, mesh.NewAgent(host, bin)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("phone said:\n%s", phone.Log())
		}
	})
	join(t, w, laptop, phone)
	must(t, laptop.AwaitPath(t.Context(), patience, "phone", "direct"))

	// A map is on disk within a second.
	must(t, mesh.Await(t.Context(), patience, func() error {
		_, err := laptop.Host.Run(t.Context(), "grep", "-q", "phone", "/var/lib/meshd/meshd/map.json")
		return err
	}))

	t.Log("The internet goes, and with it the hub. Both are killed, and both come back with other addresses.")
	must(t, home.Gateway.Shell("ip link set wan0 down"))
	must(t, laptop.Kill(t.Context()))
	must(t, phone.Kill(t.Context()))
	must(t, laptop.Host.Readdress(netip.MustParseAddr("192.168.1.50")))
	must(t, phone.Host.Readdress(netip.MustParseAddr("192.168.1.51")))
	_, err = laptop.Up(t.Context())
	must(t, err)
	_, err = phone.Up(t.Context())
	must(t, err)

	t.Log("They find each other on the LAN.")
	awaitAt(t, laptop, "phone", "192.168.1.51")
	awaitAt(t, phone, "laptop", "192.168.1.50")
	must(t, laptop.AwaitPing(t.Context(), patience, "phone"))
	push(t, laptop, phone, 100_000)

	t.Log("The phone gets another address while both run. It is found there.")
	must(t, phone.Host.Readdress(netip.MustParseAddr("192.168.1.77")))
	must(t, laptop.AwaitPing(t.Context(), 2*patience, "phone"))
	must(t, mesh.Await(t.Context(), 2*patience, func() error {
		p, err := laptop.Peer(t.Context(), "phone")
		if err == nil && !strings.HasPrefix(p.Endpoint, "192.168.1.77:") {
			err = fmt.Errorf("the laptop reaches the phone at %q", p.Endpoint)
		}
		return err
	}))

	t.Log("With --mdns=off nothing is said, and nobody is heard.")
	must(t, laptop.Down(t.Context()))
	_, err = laptop.Up(t.Context(), "--mdns=off")
	must(t, err)
	s, err := laptop.Status(t.Context())
	must(t, err)
	if s.Peers[0].LAN {
		t.Error("a member was heard of on the LAN")
	}
	if out, err := laptop.Host.Run(t.Context(), "ss", "-lnu", "sport", "=", ":5353"); err != nil || strings.Contains(out, "5353") {
		t.Errorf("sockets for multicast DNS: %q, %v", out, err)
	}
}
