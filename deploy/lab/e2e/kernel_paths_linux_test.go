//go:build guest

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"meshd/agent/localapi"
	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// TestKernelMTU has the kernel's WireGuard copy what TestMTU does in user space, but
// less of it: ten megabytes would take an emulated machine minutes each time.
func TestKernelMTU(t *testing.T) {
	const size = 1 << 17
	t.Parallel()
	t.Run("over IPv4", func(t *testing.T) {
		t.Parallel()
		mtu(t, size, mesh.HubAddr, netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"), []underlay{
			{"Ethernet", swallow(1500), 1412, false},
			{"jumbo frames at one end", interfaceMTU(9000), 1412, false},
			{"an interface of 1400", interfaceMTU(1400), 1328, false},
			{"a path that swallows what is above 1380", swallow(1380), 1312, true},
			{"an interface of 1280", interfaceMTU(1280), 1200, true},
		})
	})
	t.Run("over IPv6", func(t *testing.T) {
		t.Parallel()
		mtu(t, size, hub6, netip.MustParseAddr("2001:db8::a"), netip.MustParseAddr("2001:db8::b"), []underlay{
			{"Ethernet", swallow(1500), 1412, false},
			{"a path that swallows what is above 1380", swallow(1380), 1280, true},
			{"an interface of 1280", interfaceMTU(1280), 1184, true},
		})
	})
}

// TestKernelBehindHostFirewalls: what comes by a raw socket has passed the firewall.
func TestKernelBehindHostFirewalls(t *testing.T) { hostFirewalls(t, "kernel") }

// TestKernelInbound has nftables keep out what the fast path does without.
func TestKernelInbound(t *testing.T) { inbound(t, "kernel") }

// TestKernelStrangersAtHostFirewalls: what comes by a packet socket has not. Nobody can
// tell where Bob's packets will come from, and nobody searches.
func TestKernelStrangersAtHostFirewalls(t *testing.T) {
	s := newScene(t)
	alice := s.public("alice", mesh.HomeAAddr)
	_, bob := s.home("bob", mesh.HomeBAddr, lab.Gateway{NAT: lab.Symmetric})
	must(t, alice.Host.Shell(defaultDeny))
	s.joinWithoutSearch(alice, bob)
	s.direct(alice, bob)
	s.carries(alice, bob, between)
	backend(t, alice, "kernel")
}

// TestKernelMeetsTheFastPath has the kernel at one end and the fast path at the
// other, which counts the packets that it opens and seals.
func TestKernelMeetsTheFastPath(t *testing.T) {
	const size = megabyte
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

	const least = 2 * size / 1412 // of packets that carry a file twice
	if n := there.Opened - begin.Opened; n < least {
		t.Errorf("the fast path opened %d packets of the kernel's, want at least %d", n, least)
	}
	if n := back.Sealed - there.Sealed; n < least {
		t.Errorf("the fast path sealed %d packets for the kernel, want at least %d", n, least)
	}
	t.Logf("the fast path opened %d packets, and sealed %d", there.Opened-begin.Opened, back.Sealed-there.Sealed)

	t.Log("Both tell the same of each other, directly and by relay.")
	sameView(t, alice, bob, 4*size)
	must(t, s.Lab.Cut(mesh.HomeAAddr, mesh.HomeBAddr))
	copyBoth(t, alice, bob, size, "relay")
	copyBoth(t, bob, alice, size, "relay")
	sameView(t, alice, bob, 8*size)
}

// sameView has two members of different backends, who moved that many bytes in all,
// say of each other what can't differ.
func sameView(t *testing.T, a, b *mesh.Agent, moved int) {
	t.Helper()
	must(t, mesh.Await(t.Context(), patience, func() error { // what was sent last is on its way, and polled
		ofB, whyB := views(t, a, b)
		ofA, whyA := views(t, b, a)
		near := func(x, y uint64) bool { return max(x, y)-min(x, y) < uint64(moved/100) }
		shook := ofA.LastHandshake.Sub(ofB.LastHandshake).Abs()
		switch {
		case ofA.Path != ofB.Path || ofA.Relay != ofB.Relay || ofA.MTU != ofB.MTU || ofA.MTU == 0 || ofA.Online != ofB.Online,
			(ofA.Endpoint == "") != (ofB.Endpoint == ""), (ofA.RTT == 0) != (ofB.RTT == 0), ofA.Since.IsZero() || ofB.Since.IsZero(),
			ofA.LastHandshake.IsZero() || shook > patience,
			!near(ofA.RxBytes, ofB.TxBytes) || !near(ofA.TxBytes, ofB.RxBytes) || ofA.RxBytes+ofA.TxBytes < uint64(moved),
			whyA.Path != whyB.Path || whyA.MTU != whyB.MTU || whyA.Crossing != whyB.Crossing || whyA.Verdict == "" || (len(whyA.Attempts) == 0) != (len(whyB.Attempts) == 0):
			return fmt.Errorf("of %d bytes both ways\n%s says %+v\n%+v\n%s says %+v\n%+v", moved, a.Host.Name, ofB, whyB, b.Host.Name, ofA, whyA)
		}
		return nil
	}))
}

// views are what a member's `status` and `why` say of another.
func views(t *testing.T, of, peer *mesh.Agent) (*localapi.Peer, localapi.Why) {
	t.Helper()
	p, err := of.Peer(t.Context(), peer.Host.Name)
	must(t, err)
	out, err := of.Command(t.Context(), "why", "--json", peer.Host.Name)
	must(t, err)
	var why localapi.Why
	must(t, json.Unmarshal([]byte(out), &why))
	return p, why
}

// TestKernelBesideWgQuick has wg-quick make a tunnel of its own, whose packets go
// through the mesh, and give it the default route. The mesh's own packets would go
// into it, too, and so round and round, but for their mark.
func TestKernelBesideWgQuick(t *testing.T) {
	s := newScene(t)
	_, _, alice, bob := s.homes(lab.Gateway{}, lab.Gateway{})
	s.join(alice, bob)
	s.direct(alice, bob)
	exit, err := alice.Address(t.Context(), "bob")
	must(t, err)
	out, err := alice.Host.Run(t.Context(), "sh", "-c", "for i in 1 2; do k=$(wg genkey); echo $k; echo $k | wg pubkey; done")
	must(t, err)
	k := strings.Fields(out)
	must(t, bob.Host.Shell(fmt.Sprintf(`ip link add theirs type wireguard
echo %s | wg set theirs listen-port 51999 private-key /dev/stdin peer %s allowed-ips 10.77.0.2
ip addr add 10.77.0.1/24 dev theirs
ip link set theirs up`, k[0], k[3])))
	must(t, alice.Host.Shell(fmt.Sprintf(`umask 077
mkdir -p /run/theirs
cat > /run/theirs/theirs.conf <<END
[Interface]
PrivateKey = %s
Address = 10.77.0.2/24
[Peer]
PublicKey = %s
Endpoint = %s:51999
AllowedIPs = 0.0.0.0/0
END
wg-quick up /run/theirs/theirs.conf`, k[2], k[1], exit)))
	mark, err := alice.Host.Run(t.Context(), "wg", "show", "theirs", "fwmark")
	must(t, err)
	way, err := alice.Host.Run(t.Context(), "ip", "route", "get", mesh.HomeBAddr.String())
	must(t, err)
	if !strings.Contains(way, "dev theirs") {
		t.Fatalf("wg-quick did not take the default route: %s", way)
	}

	_, err = alice.Command(t.Context(), "set", "fwmark="+strings.TrimSpace(mark))
	must(t, err)
	s.direct(alice, bob)
	s.carries(alice, bob, between)
	backend(t, alice, "kernel")

	t.Log("A daemon that starts beside it reaches the hub, and the relay.")
	must(t, alice.Kill(t.Context()))
	_, err = alice.Up(t.Context())
	must(t, err)
	must(t, mesh.Await(t.Context(), patience, func() error {
		st, err := alice.Status(t.Context())
		if err == nil && !(st.Hub.Connected && st.Hub.UDP) {
			err = fmt.Errorf("the hub is %+v", st.Hub)
		}
		return err
	}))
	s.direct(alice, bob)

	t.Log("And the tunnel inside has its peer, by the mesh.")
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	_, err = alice.Host.Run(ctx, "ping", "-c", "1", "-w", fmt.Sprint(int(patience.Seconds())), "10.77.0.1")
	must(t, err)
}
