package e2e

import (
	"fmt"
	"strings"
	"testing"

	"meshd/deploy/lab/mesh"
)

func TestRenamedMember(t *testing.T) {
	t.Setenv("MESHD_DNS_LISTEN", mesh.HubAddr.String()+":53")
	w := world(t)
	join(t, w, w.Laptop, w.Nas)
	laptop, hub := w.Laptop.Host, "@"+mesh.HubAddr.String()
	s, err := w.Laptop.Status(t.Context())
	must(t, err)
	p, err := w.Laptop.Peer(t.Context(), "nas")
	must(t, err)
	own, addr := "@"+s.Self.Addresses[0].String(), p.Addresses[0].String()
	_, err = w.Nas.Command(t.Context(), "announce", "http", "--port", "8080", "--name", "Photos")
	must(t, err)
	awaitDig(t, laptop, "0 0 8080 nas.meshd.internal.", own, "+short", "Photos._http._tcp.meshd.internal", "SRV")
	awaitName(t, w.Laptop, "nas", addr, p.Addresses[1].String())

	t.Log("The nas becomes the vault: that is its name everywhere, and its services and endpoint are the vault's.")
	_, err = w.Hub.Command(t.Context(), "member", "rename", "nas", "vault")
	must(t, err)
	for _, server := range [][]string{{own}, {hub, "-k", keyFile(t, w.Laptop)}} {
		ask := func(want string, question ...string) {
			t.Helper()
			awaitDig(t, laptop, want, append(append([]string{}, server...), question...)...)
		}
		ask(addr, "+short", "vault.meshd.internal", "A")
		ask("status: NXDOMAIN", "nas.meshd.internal", "A")
		ask("vault.meshd.internal.", "+short", "-x", addr)
		ask("0 0 8080 vault.meshd.internal.", "+short", "Photos._http._tcp.meshd.internal", "SRV")
		ask(mesh.HomeBAddr.String(), "+short", instance(t, p), "A")
	}
	awaitName(t, w.Laptop, "vault", addr, p.Addresses[1].String())
	must(t, mesh.Await(t.Context(), patience, func() error {
		if got, err := getent(t, laptop, "nas"); err == nil {
			return fmt.Errorf("nas is still %q", got)
		}
		return nil
	}))
	must(t, w.Laptop.AwaitPing(t.Context(), patience, "vault"))
	must(t, mesh.Await(t.Context(), patience, func() error {
		s, err := w.Nas.Status(t.Context())
		if err == nil && s.Self.Name != "vault" {
			err = fmt.Errorf("it calls itself %s", s.Self.Name)
		}
		return err
	}))

	t.Log("What it publishes from now on is the vault's, with a key of that name.")
	_, err = w.Nas.Command(t.Context(), "announce", "ssh", "--port", "22", "--name", "Shell")
	must(t, err)
	awaitDig(t, laptop, "0 0 22 vault.meshd.internal.", hub, "-k", keyFile(t, w.Laptop), "+short", "Shell._ssh._tcp.meshd.internal", "SRV")

	t.Log("Who comes and calls itself so gets a suffix, and is told; the old name is free.")
	out, err := w.Desk.Host.Run(t.Context(), "sh", "-c", bin+" up --hostname vault "+key(t, w, "--approved")+" 2>&1")
	must(t, err)
	if !strings.Contains(out, "the name vault was taken") || !strings.Contains(out, "vault-2") {
		t.Errorf("up said\n%s", out)
	}
	desk, err := w.Desk.Status(t.Context())
	must(t, err)
	awaitDig(t, laptop, desk.Self.Addresses[0].String(), own, "+short", "vault-2.meshd.internal", "A")
	_, err = w.Hub.Command(t.Context(), "member", "rename", "vault-2", "nas")
	must(t, err)
	awaitDig(t, laptop, desk.Self.Addresses[0].String(), own, "+short", "nas.meshd.internal", "A")
	if _, err := w.Hub.Command(t.Context(), "member", "rename", "nas", "vault"); err == nil || !strings.Contains(err.Error(), `"vault" belongs to`) {
		t.Errorf("rename to a name that is taken: %v", err)
	}
}
