package e2e

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"meshd/agent/localapi"
	"meshd/deploy/lab/mesh"
)

// netcheck runs `meshd netcheck --json`; its exit code is 1 without UDP.
func netcheck(t *testing.T, a *mesh.Agent, args ...string) localapi.Netcheck {
	t.Helper()
	out, err := a.Command(t.Context(), append([]string{"netcheck", "--json"}, args...)...)
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var n localapi.Netcheck
	if err := json.Unmarshal([]byte(out), &n); err != nil {
		t.Fatalf("%s said %q: %v", a.Host.Name, out, err)
	}
	return n
}

func TestNetcheckBeforeJoining(t *testing.T) {
	w := world(t)
	hub := mesh.HubAddr.String()
	for _, tt := range []struct {
		agent                          *mesh.Agent
		mapping, filtering, allocation string
		class                          string
	}{
		{w.Laptop, "endpoint-independent", "address-and-port-dependent", "preserving", "port-restricted cone"},
		{w.Desk, "address-and-port-dependent", "address-and-port-dependent", "random", "symmetric"},
	} {
		n := netcheck(t, tt.agent, "--stun", hub, "--stun", hub+":3479")
		b := n.IPv4.Behaviour
		if !n.UDP || !n.IPv4.NAT || b.Mapping != tt.mapping || b.Filtering != tt.filtering || b.Allocation != tt.allocation || b.Class != tt.class {
			t.Errorf("%s: got %+v, want %+v", tt.agent.Host.Name, n, tt)
		}
		text, err := tt.agent.Command(t.Context(), "netcheck", "--stun", hub, "--stun", hub+":3479")
		must(t, err)
		t.Logf("%s:\n%s", tt.agent.Host.Name, text)
	}
	if n := netcheck(t, w.Tablet, "--stun", hub); n.UDP || !strings.Contains(n.Means, "relayed by TLS") {
		t.Errorf("tablet: got %+v, want no UDP", n)
	}
	if out, err := w.Laptop.Command(t.Context(), "netcheck"); err == nil || !strings.Contains(err.Error(), "--stun") {
		t.Errorf("without a daemon: got %q, %v, want a hint", out, err)
	}
}

func TestNetcheckAndWhyOfMembers(t *testing.T) {
	w := world(t)
	join(t, w, w.Laptop, w.Nas, w.Desk)
	must(t, w.Laptop.AwaitPath(t.Context(), patience, "nas", "direct"))
	if n := netcheck(t, w.Laptop); n.IPv4.Behaviour.Class != "port-restricted cone" || len(n.Servers) != 2 || n.Servers[0].RTT < 10 {
		t.Errorf("got %+v, want a port-restricted cone, seen by two ports", n)
	}
	for _, args := range [][]string{{"netcheck"}, {"why", "nas"}, {"why", "desk"}, {"status"}} {
		text, err := w.Laptop.Command(t.Context(), args...)
		must(t, err)
		t.Logf("meshd %s:\n%s", strings.Join(args, " "), text)
	}
	must(t, mesh.Await(t.Context(), patience, func() error { return knows(t, w.Laptop, "desk", "searched") }))
}

// knows reports whether an agent can tell how the pair is crossed.
func knows(t *testing.T, a *mesh.Agent, peer, crossing string) error {
	out, err := a.Command(t.Context(), "why", "--json", peer)
	if err != nil {
		return err
	}
	var w localapi.Why
	if err := json.Unmarshal([]byte(out), &w); err != nil {
		return err
	}
	if w.Crossing != crossing {
		return errors.New("crossing " + w.Crossing + ", want " + crossing)
	}
	return nil
}
