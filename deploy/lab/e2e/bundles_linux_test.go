package e2e

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// TestBundlesThatGetLost copies files where a line loses every bundle of datagrams
// that a kernel sent in one piece, and nothing else: on the direct path, on the way
// to the hub that relays, and on the way from it.
func TestBundlesThatGetLost(t *testing.T) {
	const size = 10 << 20
	addrA, addrB := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
	for _, row := range []struct {
		name     string
		path     string
		from, to netip.Addr // the line that loses them
	}{
		{"direct", "direct", addrA, addrB},
		{"to the relay", "relay", addrA, mesh.HubAddr},
		{"from the relay", "relay", mesh.HubAddr, addrB},
	} {
		t.Run(row.name, func(t *testing.T) {
			l, err := lab.New()
			must(t, err)
			t.Cleanup(func() { l.Close() })
			a, b := pairAt(t, l, lab.Delay{}, mesh.HubAddr, addrA, addrB) // lines that carry bundles
			if row.path == "relay" {
				must(t, l.Cut(addrA, addrB))
				must(t, a.AwaitPath(t.Context(), patience, "b", "relay"))
			}
			must(t, l.Drop(fmt.Sprintf("ip saddr %s ip daddr %s ip protocol udp meta length > 1500", row.from, row.to)))
			copyBoth(t, a, b, size, row.path)
			copyBoth(t, b, a, size, row.path)
			must(t, mesh.Await(t.Context(), 10*time.Second, func() error {
				p, err := a.Peer(t.Context(), "b")
				if err == nil && !p.Singly {
					err = fmt.Errorf("packets to %s by %s are said to go in bundles", p.Name, p.Path)
				}
				return err
			}))
		})
	}
}
