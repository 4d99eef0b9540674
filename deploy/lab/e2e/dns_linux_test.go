package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"meshd/agent/localapi"
	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
	"meshd/dnssd"
)

// dig asks a server from a host, and returns what dig prints.
func dig(t *testing.T, host *lab.Host, args ...string) string {
	t.Helper()
	out, err := host.Run(t.Context(), "dig", append([]string{"+tries=1", "+time=2"}, args...)...)
	must(t, err)
	return strings.TrimSpace(out)
}

// awaitDig asks until the answer has what is wanted in it.
func awaitDig(t *testing.T, host *lab.Host, want string, args ...string) {
	t.Helper()
	must(t, mesh.Await(t.Context(), patience, func() error {
		if got := dig(t, host, args...); !strings.Contains(got, want) {
			return fmt.Errorf("dig %q on %s said %q, want %q in it", args, host.Name, got, want)
		}
		return nil
	}))
}

// instance is under what name a member is a WireGuard peer.
func instance(t *testing.T, p *localapi.Peer) string {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(p.Key)
	must(t, err)
	return dnssd.InstanceLabel([32]byte(key)) + "._wireguard._udp.meshd.internal"
}

// lanAddr is a member's address in its LAN.
func lanAddr(s *localapi.Status) string {
	for _, e := range s.Self.Endpoints {
		if e.Kind == "host" && e.Addr.Addr().Is4() {
			return e.Addr.Addr().String()
		}
	}
	return "no address in a LAN"
}

func TestNamesByDig(t *testing.T) {
	w := world(t)
	join(t, w, w.Laptop, w.Nas)
	laptop, nas := w.Laptop.Host, w.Nas.Host
	s, err := w.Laptop.Status(t.Context())
	must(t, err)
	p, err := w.Laptop.Peer(t.Context(), "nas")
	must(t, err)
	server := "@" + s.Self.Addresses[0].String()

	t.Log("The laptop's own server knows the nas, by UDP and TCP, IPv4 and IPv6, both ways.")
	awaitDig(t, laptop, p.Addresses[0].String(), server, "+short", "nas.meshd.internal", "A")
	awaitDig(t, laptop, p.Addresses[1].String(), server, "+short", "+tcp", "NAS.meshd.internal", "AAAA")
	awaitDig(t, laptop, p.Addresses[0].String(), "@"+s.Self.Addresses[1].String(), "+short", "nas.meshd.internal", "A")
	awaitDig(t, laptop, "nas.meshd.internal.", server, "+short", "-x", p.Addresses[0].String())

	t.Log("It tells at what public address the nas is reached, and at which others.")
	endpoint := func(ap netip.AddrPort) string { return fmt.Sprintf("0 0 %d ", ap.Port()) }
	must(t, mesh.Await(t.Context(), patience, func() error {
		remote, err := w.Nas.Status(t.Context())
		if err != nil {
			return err
		}
		for _, e := range remote.Self.Endpoints {
			if e.Kind == "reflexive" && e.Addr.Addr().Is4() {
				awaitDig(t, laptop, endpoint(e.Addr), server, "+short", instance(t, p), "SRV")
				awaitDig(t, laptop, e.Addr.Addr().String(), server, "+short", instance(t, p), "A")
				awaitDig(t, laptop, e.Addr.String(), server, "+short", "_cand."+instance(t, p), "TXT")
				return nil
			}
		}
		return fmt.Errorf("no reflexive endpoint among %v", remote.Self.Endpoints)
	}))
	awaitDig(t, laptop, instance(t, p), server, "+short", "_wireguard._udp.meshd.internal", "PTR")

	t.Log("Another member may ask it through the mesh; who asks from a LAN may not.")
	awaitDig(t, nas, s.Self.Addresses[0].String(), server, "+short", "laptop.meshd.internal", "A")
	awaitDig(t, laptop, "status: REFUSED", server, "-b", lanAddr(s), "nas.meshd.internal", "A")

	t.Log("meshd says so itself.")
	out, err := w.Laptop.Command(t.Context(), "dns", "query", "nas", "A")
	must(t, err)
	if !strings.Contains(out, p.Addresses[0].String()) {
		t.Errorf("got %q", out)
	}
	out, err = w.Laptop.Command(t.Context(), "dns", "status")
	must(t, err)
	t.Logf("dns status:\n%s", out)
}

func TestNamesAtTheHub(t *testing.T) {
	t.Setenv("MESHD_DNS_LISTEN", mesh.HubAddr.String()+":53")
	w := world(t)
	join(t, w, w.Laptop, w.Nas)
	laptop, nas, hub := w.Laptop.Host, w.Nas.Host, "@"+mesh.HubAddr.String()
	p, err := w.Laptop.Peer(t.Context(), "nas")
	must(t, err)
	s, err := w.Laptop.Status(t.Context())
	must(t, err)
	peer := instance(t, p)

	t.Log("Strangers are refused; a member is known by its key.")
	awaitDig(t, w.Desk.Host, "status: REFUSED", hub, "nas.meshd.internal", "A")
	awaitDig(t, laptop, p.Addresses[0].String(), hub, "-k", keyFile(t, w.Laptop), "+short", "nas.meshd.internal", "A")

	t.Log("The nas writes with nsupdate where it is reached, and everybody knows.")
	script := fmt.Sprintf(`server %s
check-names no
zone meshd.internal
update delete %s
update add %[2]s 30 SRV 0 0 5555 %[2]s
update add %[2]s 30 A 198.51.100.77
send`, mesh.HubAddr, peer)
	nsupdate := func(a *mesh.Agent, script string) (string, error) {
		return a.Host.Run(t.Context(), "sh", "-c", fmt.Sprintf("nsupdate -k %s <<'END'\n%s\nEND", keyFile(t, a), script))
	}
	if out, err := nsupdate(w.Nas, script); err != nil {
		t.Fatalf("nsupdate said %q, %v", out, err)
	}
	awaitDig(t, nas, "0 0 5555 ", hub, "-k", keyFile(t, w.Nas), "+short", peer, "SRV")
	awaitDig(t, laptop, "0 0 5555 ", "@"+s.Self.Addresses[0].String(), "+short", peer, "SRV")
	awaitDig(t, laptop, "198.51.100.77", "@"+s.Self.Addresses[0].String(), "+short", peer, "A")

	t.Log("The laptop may not write that.")
	if _, err := nsupdate(w.Laptop, strings.ReplaceAll(script, "5555", "6666")); err == nil || !strings.Contains(err.Error(), "REFUSED") {
		t.Errorf("nsupdate of another's name: %v, want REFUSED", err)
	}
	awaitDig(t, nas, "0 0 5555 ", hub, "-k", keyFile(t, w.Nas), "+short", peer, "SRV")
}

func TestAnotherServerHasThePort(t *testing.T) {
	w := world(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	other := w.Laptop.Host.Command(ctx, "socat", "-u", "UDP-RECV:53", "OPEN:/dev/null")
	must(t, other.Start())
	must(t, mesh.Await(t.Context(), patience, func() error {
		_, err := w.Laptop.Host.Run(t.Context(), "sh", "-c", "ss -lnu | grep -q :53")
		return err
	}))

	t.Log("The mesh is up none the less, and says what is missing.")
	join(t, w, w.Laptop, w.Nas)
	must(t, w.Laptop.AwaitPing(t.Context(), patience, "nas"))
	health := func() string {
		s, err := w.Laptop.Status(t.Context())
		must(t, err)
		return strings.Join(s.Health, "; ")
	}
	if got := health(); !strings.Contains(got, "address already in use") {
		t.Errorf("health: %q", got)
	}

	t.Log("Once the port is free names are answered, by themselves.")
	stop()
	other.Wait() // it was killed, which is an error
	must(t, mesh.Await(t.Context(), patience, func() error {
		if got := health(); got != "" {
			return fmt.Errorf("health: %q", got)
		}
		return nil
	}))
	must(t, w.Laptop.AwaitPing(t.Context(), patience, "nas"))
	out, err := w.Laptop.Command(t.Context(), "dns", "query", "nas")
	must(t, err)
	t.Logf("dns query:\n%s", out)
}

// keyFile writes a member's key where dig and nsupdate on it find it.
func keyFile(t *testing.T, a *mesh.Agent) string {
	t.Helper()
	key, err := a.Command(t.Context(), "dns", "key")
	must(t, err)
	path := filepath.Join(a.Host.Folder(), "tsig.key")
	must(t, os.WriteFile(path, []byte(key), 0o600))
	return path
}

func TestServicesByDig(t *testing.T) {
	w := world(t)
	join(t, w, w.Laptop, w.Nas)
	laptop := w.Laptop.Host
	s, err := w.Laptop.Status(t.Context())
	must(t, err)
	server := "@" + s.Self.Addresses[0].String()

	t.Log("The nas announces its pages: the laptop finds them by meshd and by any DNS tool.")
	_, err = w.Nas.Command(t.Context(), "announce", "http", "--port", "8080", "--name", "Photos of nas", "--txt", "path=/photos")
	must(t, err)
	const service = `Photos\032of\032nas._http._tcp.meshd.internal`
	awaitDig(t, laptop, "_http._tcp.meshd.internal.", server, "+short", "_services._dns-sd._udp.meshd.internal", "PTR")
	awaitDig(t, laptop, service, server, "+short", "_http._tcp.meshd.internal", "PTR")
	awaitDig(t, laptop, "0 0 8080 nas.meshd.internal.", server, "+short", service, "SRV")
	awaitDig(t, laptop, `"path=/photos"`, server, "+short", service, "TXT")
	out, err := w.Laptop.Command(t.Context(), "browse", "http")
	must(t, err)
	if !strings.Contains(out, "nas.meshd.internal:8080") || !strings.Contains(out, "Photos of nas") {
		t.Errorf("browse says\n%s", out)
	}

	t.Log("Its name is taken; and what breaks a limit is told by its number.")
	for want, args := range map[string][]string{
		"nas announces": {"announce", "http", "--port", "80", "--name", "photos of nas"},
		"1 to 63":       {"announce", "http", "--port", "80", "--name", strings.Repeat("x", 64)},
		"more than 15":  {"announce", "a-name-that-is-long", "--port", "80"},
	} {
		if _, err := w.Laptop.Command(t.Context(), args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("meshd %q: %v, want …%s…", args, err, want)
		}
	}

	t.Log("Withdrawn, it is gone from everywhere.")
	_, err = w.Nas.Command(t.Context(), "unannounce", "http")
	must(t, err)
	awaitDig(t, laptop, "status: NXDOMAIN", server, "_http._tcp.meshd.internal", "PTR")
}
