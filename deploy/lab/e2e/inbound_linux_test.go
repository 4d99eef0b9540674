package e2e

import (
	"fmt"
	"strings"
	"testing"

	"meshd/deploy/lab/mesh"
)

// TestInbound has a member say what others may begin on it.
func TestInbound(t *testing.T) { inbound(t, "userspace") }

// What is asked for, as socat says it.
const (
	shell = "TCP%[1]s:%[2]s:9022,connect-timeout=0.5"
	web   = "TCP%[1]s:%[2]s:9080,connect-timeout=0.5"
	name  = "UDP%[1]s:%[2]s:9053"
)

func inbound(t *testing.T, backend string) {
	s := newScene(t)
	a, b := s.public("alice", mesh.HomeAAddr), s.public("bob", mesh.HomeBAddr)
	for _, m := range s.members {
		m.Backend = backend
		for _, server := range []string{"TCP6-LISTEN:9022,ipv6only=0", "TCP6-LISTEN:9080,ipv6only=0", "UDP6-RECVFROM:9053,ipv6only=0"} {
			must(t, m.Host.Command(t.Context(), "socat", server+",fork,reuseaddr", "SYSTEM:echo hello").Start())
		}
	}
	s.join(a, b)
	s.direct(a, b)
	alice, bob := newDoor(t, a, b), newDoor(t, b, a)
	set := func(value string) {
		t.Helper()
		_, err := alice.Command(t.Context(), "set", "inbound="+value)
		must(t, err)
	}
	all := func(want bool) {
		t.Helper()
		for _, service := range []string{shell, web, name} {
			asks(t, bob, alice, service, want)
		}
		pings(t, bob, alice, want)
	}
	begins := func() { // what alice begins herself works whatever she lets in
		t.Helper()
		for _, service := range []string{shell, web, name} {
			asks(t, alice, bob, service, true)
		}
		pings(t, alice, bob, true)
	}

	all(true)
	set("tcp/9022,icmp")
	asks(t, bob, alice, shell, true)
	asks(t, bob, alice, web, false)
	asks(t, bob, alice, name, false)
	pings(t, bob, alice, true)
	begins()

	set("none")
	all(false)
	begins()
	must(t, bob.AwaitPing(t.Context(), patience, "alice")) // by `meshd ping`, which is not inside the mesh
	if backend == "kernel" {
		foreignTables(t, a)
		all(false)
	}
	must(t, alice.Kill(t.Context()))
	_, err := alice.Up(t.Context())
	must(t, err)
	s.direct(a, b)
	all(false)

	set("all")
	all(true)
	if out, err := alice.Host.Run(t.Context(), "nft", "list", "tables"); err != nil || strings.Contains(out, "meshd") {
		t.Errorf("tables left behind: %s, %v", out, err)
	}
	if out, err := alice.Command(t.Context(), "set", "inbound=tcp/ssh"); err == nil || !strings.Contains(err.Error(), `"tcp/ssh"`) {
		t.Errorf("inbound=tcp/ssh: %s, %v", out, err)
	}
}

// foreignTables has somebody else change the table that keeps out what a member does not
// let in. Twice it is put back, and no other time.
func foreignTables(t *testing.T, a *mesh.Agent) {
	t.Helper()
	for _, change := range []string{
		"nft flush ruleset", // as a firewall does that starts
		"nft replace rule inet meshd-meshd0 inbound handle $(nft -a list table inet meshd-meshd0 | sed -n 's/.*drop # handle //p') accept",
	} {
		must(t, a.Host.Shell(change))
		must(t, mesh.Await(t.Context(), patience, func() error { return a.Host.Shell("nft list table inet meshd-meshd0 | grep -qw drop") }))
	}
	if n := strings.Count(a.Log(), "changed by another program"); n != 2 {
		t.Errorf("the table was put back %d times, want 2:\n%s", n, a.Log())
	}
}

// door is a member as another one finds it inside the mesh.
type door struct {
	*mesh.Agent
	four, six string // addresses, as socat wants them
}

func newDoor(t *testing.T, a, from *mesh.Agent) door {
	t.Helper()
	four, err := from.Command(t.Context(), "ip", "-4", a.Host.Name)
	must(t, err)
	six, err := from.Command(t.Context(), "ip", "-6", a.Host.Name)
	must(t, err)
	return door{a, four, "[" + six + "]"}
}

// asks checks that a service of another member answers, or that it does not.
func asks(t *testing.T, from, to door, service string, want bool) {
	t.Helper()
	for family, addr := range map[string]string{"4": to.four, "6": to.six} {
		where := fmt.Sprintf(service, family, addr)
		answers(t, want, where, func() error {
			out, err := from.Host.Run(t.Context(), "sh", "-c", "echo hi | socat -t0.5 - "+where)
			if err == nil && !strings.Contains(out, "hello") {
				err = fmt.Errorf("%s asks %s: %q", from.Host.Name, where, out)
			}
			return err
		})
	}
}

// pings checks that another member answers the kernel's ping, or that it does not.
func pings(t *testing.T, from, to door, want bool) {
	t.Helper()
	for _, addr := range []string{to.four, strings.Trim(to.six, "[]")} {
		answers(t, want, "ping "+addr, func() error {
			_, err := from.Host.Run(t.Context(), "ping", "-n", "-c", "1", "-W", "0.5", addr)
			return err
		})
	}
}

// answers gives who shall answer time to do it, and one chance to who shall not.
func answers(t *testing.T, want bool, what string, ask func() error) {
	t.Helper()
	if want {
		must(t, mesh.Await(t.Context(), patience, ask))
	} else if ask() == nil {
		t.Errorf("%s: answered, against the owner's word", what)
	}
}
