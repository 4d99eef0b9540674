//go:build guest

package e2e

import (
	"net/netip"
	"testing"

	"meshd/agent/localapi"
	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// TestKernelMTU has the kernel's WireGuard copy what TestMTU does in user space.
func TestKernelMTU(t *testing.T) {
	const size = 1 << 17
	t.Parallel()
	t.Run("over IPv4", func(t *testing.T) {
		t.Parallel()
		mtu(t, size, mesh.HubAddr, netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"), []underlay{
			{"Ethernet", swallow(1500), 1400, false},
			{"a path that swallows what is above 1380", swallow(1380), 1312, true},
			{"an interface of 1280", interfaceMTU(1280), 1200, false},
		})
	})
	t.Run("over IPv6", func(t *testing.T) {
		t.Parallel()
		mtu(t, size, hub6, netip.MustParseAddr("2001:db8::a"), netip.MustParseAddr("2001:db8::b"), []underlay{
			{"Ethernet", swallow(1500), 1400, false},
			{"a path that swallows what is above 1380", swallow(1380), 1280, true},
			{"an interface of 1280", interfaceMTU(1280), 1184, false},
		})
	})
}

// TestKernelBehindHostFirewalls: what comes by a raw socket has passed the firewall.
func TestKernelBehindHostFirewalls(t *testing.T) { hostFirewalls(t, "kernel") }

// TestKernelMeetsTheFastPath has the kernel at one end and the fast path at the
// other, which counts the packets that it opens and seals.
func TestKernelMeetsTheFastPath(t *testing.T) {
	const size = 1 << 20
	s := newScene(t)
	_, _, alice, bob := s.homes(lab.Gateway{}, lab.Gateway{})
	alice.Backend, bob.Backend = "kernel", "userspace"
	s.join(alice, bob)
	s.direct(alice, bob)
	fast := func() localapi.FastPath {
		st, err := bob.Status(t.Context())
		must(t, err)
		if st.FastPath == nil {
			return localapi.FastPath{}
		}
		return *st.FastPath
	}
	begin := fast()
	copyBoth(t, alice, bob, size, "direct")
	there := fast()
	copyBoth(t, bob, alice, size, "direct")
	back := fast()

	const least = 2 * size / 1400 // of packets that carry a file twice
	if n := there.Opened - begin.Opened; n < least {
		t.Errorf("the fast path opened %d packets of the kernel's, want at least %d", n, least)
	}
	if n := back.Sealed - there.Sealed; n < least {
		t.Errorf("the fast path sealed %d packets for the kernel, want at least %d", n, least)
	}
	t.Logf("the fast path opened %d packets, and sealed %d", there.Opened-begin.Opened, back.Sealed-there.Sealed)
}
