package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// TestHubRelaysInTheKernel is about two members that only the hub can bring together,
// and a hub with a real interface, which forwards what is busy without its process.
func TestHubRelaysInTheKernel(t *testing.T) {
	t.Run("over IPv4", func(t *testing.T) {
		hubRelaysInTheKernel(t, mesh.HubAddr, netip.MustParseAddr("198.51.100.61"), netip.MustParseAddr("198.51.100.62"))
	})
	t.Run("over IPv6", func(t *testing.T) {
		hubRelaysInTheKernel(t, hub6, netip.MustParseAddr("2001:db8::61"), netip.MustParseAddr("2001:db8::62"))
	})
}

func hubRelaysInTheKernel(t *testing.T, addrHub, addrA, addrB netip.Addr) {
	s := newSceneBy(t, lab.Delay{})
	alice, bob := s.public("alice", addrA), s.public("bob", addrB)
	must(t, s.Lab.Cut(addrA, addrB))
	s.join(alice, bob)
	must(t, alice.AwaitPing(t.Context(), patience, "bob"))
	if got := s.relaying(); got.Offload != "on" || got.Flows != 0 {
		t.Fatalf("the hub says %+v of its kernel, want it on, and no flow before there is traffic", got)
	}

	t.Log("A flood from one to the other passes by the kernel, and a megabyte arrives whole.")
	flood(t, alice, bob)
	s.awaitKernel()
	push(t, bob, alice, megabyte)
	must(t, alice.AwaitPath(t.Context(), patience, "bob", "relay"))

	t.Log("The hub crashes: nothing of it goes on forwarding what still comes.")
	must(t, s.Hub.Kill())
	toHub, toBob := lab.Flow{From: addrA, To: addrHub}, lab.Flow{From: addrHub, To: addrB}
	s.awaitSent(toHub)
	before := s.udp()
	s.awaitSent(toHub)
	if n := s.udp()[toBob].Bytes - before[toBob].Bytes; n > 0 {
		t.Errorf("%d bytes went from the dead hub to bob", n)
	}

	t.Log("It is back, and bob is deleted in the middle of the flood.")
	must(t, s.Hub.Start(t.Context(), "--public", mesh.HubAddr.String(), "--public", hub6.String()))
	s.awaitKernel()
	_, err := s.Hub.Command(t.Context(), "member", "delete", "bob")
	must(t, err)
	if got := s.relaying(); got.Flows != 0 {
		t.Errorf("%d flows in the kernel, want none", got.Flows)
	}
}

// kernelRelay is what the hub's status says of its kernel.
type kernelRelay struct {
	Offload string `json:"offload"`
	Flows   int    `json:"offload_flows"`
	Packets uint64 `json:"offload_packets"`
	Bytes   uint64 `json:"offload_bytes"`
}

func (s *scene) relaying() kernelRelay {
	s.t.Helper()
	out, err := s.Hub.Command(s.t.Context(), "status", "--json")
	must(s.t, err)
	var status struct{ Relay kernelRelay }
	must(s.t, json.Unmarshal([]byte(out), &status))
	return status.Relay
}

// awaitKernel waits until the hub's kernel has forwarded a megabyte and does so still.
func (s *scene) awaitKernel() {
	s.t.Helper()
	must(s.t, mesh.Await(s.t.Context(), 3*patience, func() error {
		if got := s.relaying(); got.Flows == 0 || got.Bytes < megabyte {
			return fmt.Errorf("the kernel relays %+v", got)
		}
		return nil
	}))
}

// awaitSent waits until a quarter of a megabyte more has passed the core.
func (s *scene) awaitSent(f lab.Flow) {
	s.t.Helper()
	before := s.udp()
	must(s.t, mesh.Await(s.t.Context(), 2*patience, func() error {
		if n := s.udp()[f].Bytes - before[f].Bytes; n < megabyte/4 {
			return fmt.Errorf("%d bytes from %v to %v", n, f.From, f.To)
		}
		return nil
	}))
}

func (s *scene) udp() map[lab.Flow]lab.Count {
	s.t.Helper()
	flows, err := s.Lab.FlowsOf("udp")
	must(s.t, err)
	return flows
}

// flood has one member send another some megabytes a second, which nobody reads,
// until the story ends.
func flood(t *testing.T, from, to *mesh.Agent) {
	t.Helper()
	addr, err := from.Address(t.Context(), to.Host.Name)
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	script := fmt.Sprintf("while :; do head -c 120000 /dev/zero | socat -u -b1200 - UDP-SENDTO:%s:9; done", addr)
	sending := from.Host.Command(ctx, "sh", "-c", script)
	must(t, sending.Start())
	t.Cleanup(func() {
		stop()
		sending.Wait() // killed
	})
}
