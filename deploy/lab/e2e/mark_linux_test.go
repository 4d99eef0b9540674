package e2e

import (
	"strings"
	"testing"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// elsewhere gives everything that is not marked, nor for the LAN, to another tunnel, as
// wg-quick does. That tunnel waits for the mesh: it swallows all.
const elsewhere = `ip route add blackhole default table 777
ip rule add not fwmark 0x77 table 777
ip rule add table main suppress_prefixlength 0`

// TestMarkBesideAnotherDefaultRoute has a machine join whose default route is another
// tunnel's. What the mesh sends is marked, from the question for the hub's name on.
func TestMarkBesideAnotherDefaultRoute(t *testing.T) {
	s := newScene(t)
	provide(t, s.Lab)
	_, _, alice, bob := s.homes(lab.Gateway{}, lab.Gateway{})
	alice.Backend = "userspace"
	s.join(bob)
	must(t, alice.Host.Shell("echo nameserver "+provider.String()+" > /etc/resolv.conf"))
	must(t, alice.Host.Shell(elsewhere))
	if out, err := alice.Host.Run(t.Context(), "ping", "-c", "1", "-W", "1", mesh.HubAddr.String()); err == nil {
		t.Fatalf("the default route is not the other tunnel's: %s", out)
	}
	_, secret, _ := strings.Cut(key(t, s.World, "--approved"), "/")
	_, err := alice.Up(t.Context(), "meshd1:hub.example.org/"+secret, "--fwmark", "0x77", "--dns", "off")
	must(t, err)
	s.direct(alice, bob)
	s.carries(alice, bob, between)
	st, err := alice.Status(t.Context())
	must(t, err)
	if !st.Hub.Connected || !st.Hub.UDP {
		t.Errorf("the hub is %+v, want it connected, and its relay reached by UDP", st.Hub)
	}
	if n := netcheck(t, alice); !n.UDP || n.IPv4.Behaviour.Class != "port-restricted cone" {
		t.Errorf("netcheck says %+v, want what the home's gateway does", n)
	}
}
