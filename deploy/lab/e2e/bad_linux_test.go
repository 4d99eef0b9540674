package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"meshd/agent/localapi"
	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// refused checks that a command failed the way a person can use: an exit code,
// one sentence that names each of the values, and a hint.
func refused(t *testing.T, what string, err error, names ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: accepted", what)
		return
	}
	for _, n := range append(names, "meshd: ", "hint: ") {
		if !strings.Contains(err.Error(), n) {
			t.Errorf("%s: the answer does not say %q:\n%v", what, n, err)
		}
	}
}

func TestJoinStringsThatDoNotAdmit(t *testing.T) {
	w := world(t)
	up := func(a *mesh.Agent, key string) error {
		_, err := a.Up(t.Context(), key)
		return err
	}

	good := key(t, w, "--approved")
	refused(t, "cut short", up(w.Laptop, good[:len(good)-7]), "cut short")
	refused(t, "mistyped", up(w.Laptop, good[:len(good)-1]+"~"), "~")
	refused(t, "of another kind", up(w.Laptop, "meshd9"+good[6:]), "meshd9")

	must(t, up(w.Laptop, good))
	refused(t, "used", up(w.Nas, good), "used")

	short := key(t, w, "--approved", "--expires", "1s")
	must(t, mesh.Await(t.Context(), patience, func() error {
		if err := up(w.Nas, short); err == nil {
			return w.Nas.Down(t.Context())
		} else if !strings.Contains(err.Error(), "expired") {
			return err
		}
		return nil
	}))

	t.Log("Another coordinator on the same machine: its join strings are not for this one.")
	other := mesh.NewHub(w.Hub.Host, bin)
	ctx, stop := context.WithCancel(t.Context())
	serve := other.Host.Command(ctx, bin, "coordinator", "serve", "--state", "/run/other", "--listen", ":444", "--udp", ":4478,:4479")
	must(t, serve.Start())
	defer serve.Wait() // killed by then
	defer stop()
	var foreign string
	must(t, mesh.Await(t.Context(), patience, func() (err error) {
		foreign, err = other.Command(t.Context(), "key", "create", "--approved", "--state", "/run/other")
		return err
	}))
	refused(t, "for another hub", up(w.Nas, strings.Replace(foreign, ":444/", ":443/", 1)), "203.0.113.1")

	t.Log("Nothing was lost by any of that.")
	must(t, up(w.Nas, key(t, w, "--approved")))
	must(t, w.Laptop.AwaitPing(t.Context(), patience, "nas"))
}

func TestMachinesThatCannotRunAnAgent(t *testing.T) {
	w := world(t)
	up := func(args ...string) error {
		_, err := w.Laptop.Up(t.Context(), args...)
		return err
	}
	join := key(t, w, "--approved", "--reusable")

	refused(t, "state folder that can't be written", up(join, "--state", "/proc/nowhere"), "/proc/nowhere")

	_, err := w.Laptop.Command(t.Context(), "up", "--foreground", "--backend", "warp", join)
	refused(t, "backend that there is not", err, "warp")

	_, err = w.Laptop.Host.Run(t.Context(), "setpriv", "--reuid", "65534", "--clear-groups", bin, "up", "--foreground", "--state", "/run/nobody", "--socket", "/run/nobody.sock", join)
	refused(t, "no root", err, "nobody")

	must(t, w.Laptop.Host.Shell("mkdir -p /run/empty; mount --bind /run/empty /dev/net"))
	refused(t, "no TUN", up("--backend", "userspace", join), "/dev/net/tun")
	must(t, w.Laptop.Host.Shell("umount /dev/net"))
	must(t, up(join))

	t.Log("A second daemon on the first one's interface.")
	_, err = w.Laptop.Command(t.Context(), "up", "--foreground", "--mesh", "second", "--interface", "meshd0", join)
	refused(t, "interface taken", err, "meshd0")
	_, err = w.Laptop.Status(t.Context())
	must(t, err)
}

func TestStateOfANewerVersion(t *testing.T) {
	w := world(t)
	join(t, w, w.Laptop)
	must(t, w.Laptop.Down(t.Context()))
	state := filepath.Join(w.Laptop.Host.Folder(), "var/lib/meshd/meshd/state.json")
	b, err := os.ReadFile(state)
	must(t, err)
	newer := strings.Replace(string(b), `"version": 1`, `"version": 99`, 1)
	if newer == string(b) {
		t.Fatalf("no version in %s: %.200s", state, b)
	}
	must(t, os.WriteFile(state, []byte(newer), 0o600))
	_, err = w.Laptop.Up(t.Context())
	refused(t, "newer state", err, "99")
	kept, err := os.ReadFile(state)
	must(t, err)
	if string(kept) != newer {
		t.Error("the state of the newer version was written over")
	}
}

func TestPrefixOverlapsTheHost(t *testing.T) {
	w, err := mesh.NewWorld(bin, 0)
	must(t, err)
	defer w.Close()
	must(t, w.Hub.Start(t.Context(), "--prefix4", "192.168.0.0/16"))
	_, err = w.Laptop.Up(t.Context(), key(t, w, "--approved"))
	refused(t, "overlap", err, "192.168.0.0/16", "192.168.1.0/24")
}

func TestCoordinatorsThatCannotStart(t *testing.T) {
	w := world(t)
	serve := func(args ...string) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := w.Hub.Host.Run(ctx, bin, append([]string{"coordinator", "serve"}, args...)...)
		return err
	}
	refused(t, "state folder in use", serve(), "/var/lib/meshd-coordinator")
	refused(t, "port in use", serve("--state", "/run/two", "--udp", ":4478,:4479"), "443")
	refused(t, "UDP port in use", serve("--state", "/run/three", "--listen", ":444"), "3478")
	refused(t, "state folder that can't be written", serve("--state", "/proc/nowhere", "--listen", ":444", "--udp", ":4478,:4479"), "/proc/nowhere")
	refused(t, "one UDP port", serve("--state", "/run/four", "--listen", ":444", "--udp", ":4478"), "4478")

	must(t, w.Hub.Stop())
	refused(t, "another prefix than the mesh has", serve("--prefix4", "10.0.0.0/8"), "10.0.0.0/8", "100.96.0.0/16")
}

func TestHubAnswersWithAnotherKey(t *testing.T) {
	w := world(t)
	join(t, w, w.Laptop, w.Nas)
	must(t, w.Laptop.AwaitPath(t.Context(), patience, "nas", "direct"))
	must(t, w.Hub.Stop())
	must(t, os.Rename(filepath.Join(w.Hub.Host.Folder(), "var/lib/meshd-coordinator/identity.key"), filepath.Join(w.Hub.Host.Folder(), "run/identity.key")))
	must(t, w.Hub.Start(t.Context()))

	t.Log("The agents do not talk with an impostor, say so, and go on.")
	must(t, mesh.Await(t.Context(), patience, func() error {
		s, err := w.Laptop.Status(t.Context())
		if err != nil {
			return err
		}
		if s.Hub.Connected || !strings.Contains(s.Hub.Error, "proved to be") {
			return fmt.Errorf("connected is %v, error is %q", s.Hub.Connected, s.Hub.Error)
		}
		return nil
	}))
	must(t, w.Laptop.AwaitPing(t.Context(), patience, "nas"))
}

func TestMemberIsDeletedWhileOnline(t *testing.T) {
	w := world(t)
	join(t, w, w.Laptop, w.Nas)
	must(t, w.Laptop.AwaitPing(t.Context(), patience, "nas"))
	_, err := w.Hub.Command(t.Context(), "member", "delete", "nas")
	must(t, err)
	must(t, mesh.Await(t.Context(), patience, func() error {
		if _, err := w.Laptop.Peer(t.Context(), "nas"); err == nil {
			return fmt.Errorf("the laptop still knows the nas")
		}
		return nil
	}))
	must(t, mesh.Await(t.Context(), patience, func() error {
		out, err := w.Nas.Command(t.Context(), "status")
		if err == nil || !strings.Contains(out+err.Error(), "removed") {
			return fmt.Errorf("the nas says %q, %v", out, err)
		}
		return nil
	}))
	t.Log("It may join again.")
	join(t, w, w.Nas)
	must(t, w.Laptop.AwaitPing(t.Context(), patience, "nas"))
}

func TestNewcomerWaitsForApproval(t *testing.T) {
	w := world(t)
	join(t, w, w.Laptop)
	out, err := w.Nas.Up(t.Context(), key(t, w), "--wait", "1s")
	if err == nil || !strings.Contains(err.Error(), "member approve nas") {
		t.Errorf("up of a pending member says %q, %v", out, err)
	}
	if _, err := w.Laptop.Peer(t.Context(), "nas"); err == nil {
		t.Error("a pending member is shown to others")
	}
	_, err = w.Hub.Command(t.Context(), "member", "approve", "nas")
	must(t, err)
	must(t, w.Laptop.AwaitPing(t.Context(), patience, "nas"))
}

func TestDiskOfTheCoordinatorIsFull(t *testing.T) {
	w, err := mesh.NewWorld(bin, 0)
	must(t, err)
	defer w.Close()
	must(t, w.Hub.Host.Shell("mkdir -p /var/lib/meshd-coordinator; mount -t tmpfs -o size=1m tmpfs /var/lib/meshd-coordinator"))
	must(t, w.Hub.Start(t.Context()))
	join(t, w, w.Laptop)
	late := key(t, w, "--approved")

	t.Log("The disk fills up.")
	must(t, w.Hub.Host.Shell("cat /dev/zero > /var/lib/meshd-coordinator/ballast 2>/dev/null || true"))
	_, err = w.Nas.Up(t.Context(), late, "--wait", "3s")
	refused(t, "join on a full disk", err, "full")
	status, err := w.Hub.Command(t.Context(), "status")
	must(t, err)
	if !strings.Contains(status, "full") {
		t.Errorf("the coordinator's status does not say that its disk is full:\n%s", status)
	}

	t.Log("Room again: the same join string admits, for nothing was half-written.")
	must(t, w.Hub.Host.Shell("rm /var/lib/meshd-coordinator/ballast"))
	must(t, mesh.Await(t.Context(), patience, func() error {
		_, err := w.Nas.Up(t.Context(), late)
		return err
	}))
	must(t, w.Laptop.AwaitPing(t.Context(), patience, "nas"))
}

func TestRandomBytesOnEveryPort(t *testing.T) {
	w := world(t)
	join(t, w, w.Laptop)
	addr := netip.MustParseAddr("198.51.100.99")
	stranger, err := w.Lab.Public("stranger", lab.Delay{}, addr)
	must(t, err)

	t.Log("600 datagrams of 5 to 1500 bytes: not one is answered.")
	must(t, stranger.Shell(`for port in 3478 3479; do for i in $(seq 300); do head -c $((i * 5)) /dev/urandom | socat -b 1500 -u - UDP:203.0.113.1:$port; done; done`))
	flows, err := w.Lab.Flows()
	must(t, err)
	to := lab.Flow{From: addr, To: mesh.HubAddr}
	if flows[to].Packets < 600 {
		t.Fatalf("only %d packets of noise reached the hub", flows[to].Packets)
	}
	if answered := flows[to.Reverse()]; answered.Packets != 0 {
		t.Errorf("the hub answered %d packets of noise with %d of its own", flows[to].Packets, answered.Packets)
	}

	t.Log("30 connections that talk nonsense.")
	must(t, stranger.Shell(`for i in $(seq 30); do head -c 2000 /dev/urandom | timeout 5 socat - TCP:203.0.113.1:443 >/dev/null 2>&1 || true; done`))

	t.Log("An agent's own port, from its LAN: not a byte comes back.")
	guest, err := w.Sites["home-a"].Host("guest")
	must(t, err)
	status, err := w.Laptop.Status(t.Context())
	must(t, err)
	out, err := guest.Run(t.Context(), "sh", "-c", fmt.Sprintf(
		"for i in $(seq 60); do head -c $((i * 20)) /dev/urandom | socat -t 0.05 -b 1500 - UDP:192.168.1.2:%d; done | wc -c", hostPort(t, status.Self.Endpoints)))
	must(t, err)
	if strings.TrimSpace(out) != "0" {
		t.Errorf("the agent answered noise with %s bytes", strings.TrimSpace(out))
	}

	t.Log("Hub and agent serve on.")
	join(t, w, w.Nas)
	must(t, w.Laptop.AwaitPing(t.Context(), patience, "nas"))
}

// hostPort is the port that an agent listens on at its own addresses.
func hostPort(t *testing.T, endpoints []localapi.Endpoint) uint16 {
	t.Helper()
	for _, e := range endpoints {
		if e.Kind == "host" {
			return e.Addr.Port()
		}
	}
	t.Fatalf("no host endpoint in %v", endpoints)
	return 0
}
