package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// hostsFile is what a host of the lab has in /etc/hosts.
func hostsFile(t *testing.T, h *lab.Host) string {
	t.Helper()
	text, err := h.Run(t.Context(), "cat", "/etc/hosts")
	must(t, err)
	return text
}

// getent asks as programs do, and returns the first address.
func getent(t *testing.T, h *lab.Host, name string) (string, error) {
	t.Helper()
	out, err := h.Run(t.Context(), "getent", "ahosts", name)
	addr, _, _ := strings.Cut(out, " ")
	return addr, err
}

func awaitName(t *testing.T, a *mesh.Agent, name string, want ...string) {
	t.Helper()
	must(t, mesh.Await(t.Context(), patience, func() error {
		got, err := getent(t, a.Host, name)
		for _, w := range want {
			if got == w {
				return nil
			}
		}
		return fmt.Errorf("%s is %q on %s, want %v (%v)", name, got, a.Host.Name, want, err)
	}))
}

func TestNamesInTheHostsFile(t *testing.T) {
	w := world(t)
	laptop := w.Laptop.Host
	must(t, laptop.Shell("printf '127.0.0.1 localhost\\n192.0.2.1 printer' > /etc/hosts"))
	before := hostsFile(t, laptop)
	join(t, w, w.Laptop, w.Nas)
	p, err := w.Laptop.Peer(t.Context(), "nas")
	must(t, err)
	v4, v6 := p.Addresses[0].String(), p.Addresses[1].String()

	t.Log("The laptop has no resolver to configure: names stand in its hosts file, short ones too.")
	awaitName(t, w.Laptop, "nas", v4, v6)
	awaitName(t, w.Laptop, "nas.meshd.internal", v4, v6)
	awaitName(t, w.Laptop, "printer", "192.0.2.1")
	s, err := w.Laptop.Status(t.Context())
	must(t, err)
	if s.DNS.Mode != "hosts" || len(s.Health) != 0 {
		t.Errorf("dns is %+v, health %q", s.DNS, s.Health)
	}
	out, err := w.Laptop.Command(t.Context(), "dns", "status")
	must(t, err)
	t.Logf("dns status:\n%s", out)

	t.Log("A new member is known, a deleted one is not any more.")
	join(t, w, w.Desk)
	desk, err := w.Laptop.Peer(t.Context(), "desk")
	must(t, err)
	awaitName(t, w.Laptop, "desk", desk.Addresses[0].String(), desk.Addresses[1].String())
	_, err = w.Hub.Command(t.Context(), "member", "delete", "desk")
	must(t, err)
	must(t, mesh.Await(t.Context(), patience, func() error {
		if got, err := getent(t, laptop, "desk"); err == nil {
			return fmt.Errorf("desk is still %q", got)
		}
		return nil
	}))

	t.Log("Down, and the file is as it was.")
	must(t, w.Laptop.Down(t.Context()))
	if got := hostsFile(t, laptop); got != before {
		t.Errorf("after down: got %q, want %q", got, before)
	}

	t.Log("Killed, the names stay; the next daemon has them, and puts them back.")
	_, err = w.Laptop.Up(t.Context())
	must(t, err)
	awaitName(t, w.Laptop, "nas", v4, v6)
	must(t, w.Laptop.Kill(t.Context()))
	if !strings.Contains(hostsFile(t, laptop), "nas") {
		t.Error("a killed daemon took its names away")
	}
	_, err = w.Laptop.Up(t.Context())
	must(t, err)
	awaitName(t, w.Laptop, "nas", v4, v6)
	if n := strings.Count(hostsFile(t, laptop), "# meshd meshd begin"); n != 1 {
		t.Errorf("there are %d blocks", n)
	}

	t.Log("Killed again: the cleanup of the systemd unit puts the file back.")
	must(t, w.Laptop.Kill(t.Context()))
	_, err = w.Laptop.Command(t.Context(), "down", "--cleanup")
	must(t, err)
	if got := hostsFile(t, laptop); got != before {
		t.Errorf("after kill and cleanup: got %q, want %q", got, before)
	}

	t.Log("With --dns=off nothing is touched, also at the next start.")
	_, err = w.Laptop.Up(t.Context(), "--dns=off")
	must(t, err)
	must(t, w.Laptop.Down(t.Context()))
	_, err = w.Laptop.Up(t.Context())
	must(t, err)
	must(t, w.Laptop.AwaitPing(t.Context(), patience, "nas"))
	if got := hostsFile(t, laptop); got != before {
		t.Errorf("with --dns=off: got %q, want %q", got, before)
	}
	_, err = os.Stat(filepath.Join(laptop.Folder(), "var/lib/meshd/meshd/resolver.json"))
	if !os.IsNotExist(err) {
		t.Errorf("there is a record of changes: %v", err)
	}
}
