package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// makeWG0 is the shell command that makes an interface of WireGuard's own: of the
// kernel where it has one, else of wireguard-go.
func makeWG0(t *testing.T, host *lab.Host) string {
	t.Helper()
	const ofKernel = "ip link add wg0 type wireguard"
	if host.Shell(ofKernel+"; ip link del wg0") == nil {
		return ofKernel
	}
	program := filepath.Join(t.TempDir(), "wireguard-go")
	build := exec.Command("go", "build", "-o", program, "golang.zx2c4.com/wireguard")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build wireguard-go: %v\n%s", err, out)
	}
	return "mkdir -p /run/wireguard; " + program + " wg0 >/dev/null 2>&1"
}

// plainDevice is WireGuard's own implementation on a host, without meshd.
func plainDevice(t *testing.T, w *mesh.World, host *lab.Host, name string) {
	t.Helper()
	out, err := host.Run(t.Context(), "sh", "-c", "k=$(wg genkey); echo $k; echo $k | wg pubkey")
	must(t, err)
	keys := strings.Fields(out)
	config, err := w.Hub.Command(t.Context(), "client", "add", name, "--public-key", keys[1])
	must(t, err)

	var lines []string
	address, hub := "", true
	for _, line := range strings.Split(config, "\n") {
		key, value, _ := strings.Cut(line, " = ")
		switch {
		case key == "[Interface]":
			line += "\nPrivateKey = " + keys[0]
		case key == "Address":
			address, line = value, ""
		case key == "Endpoint" && hub:
			hub = false
		case key == "Endpoint": // DNS is to tell it
			line = ""
		}
		lines = append(lines, line)
	}
	file := filepath.Join(host.Folder(), name+".conf")
	must(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	script := fmt.Sprintf("%s; wg setconf wg0 %s; ip link set wg0 mtu 1400 up; ip route add 100.96.0.0/16 dev wg0", makeWG0(t, host), file)
	for _, a := range strings.Split(address, ", ") {
		script += "\nip addr add " + a + " dev wg0"
	}
	_, err = host.Run(t.Context(), "sh", "-ec", script)
	must(t, err)
}

func TestPlainWireGuardDevice(t *testing.T) {
	t.Setenv("MESHD_DNS_LISTEN", mesh.HubAddr.String()+":53")
	w := world(t)
	join(t, w, w.Nas)
	phone := w.Laptop.Host
	nas, err := w.Nas.Status(t.Context())
	must(t, err)
	nasAddr := nas.Self.Addresses[0].String()

	t.Log("A phone behind a NAT runs WireGuard alone. The hub hears it, and the nas knows where it is.")
	awaitDig(t, phone, "status: REFUSED", "@"+mesh.HubAddr.String(), "nas.meshd.internal", "A")
	plainDevice(t, w, phone, "phone")
	must(t, mesh.Await(t.Context(), 2*patience, func() error {
		p, err := w.Nas.Peer(t.Context(), "phone")
		if err == nil && (!p.Online || p.Path != "direct" || !strings.HasPrefix(p.Endpoint, mesh.HomeAAddr.String())) {
			err = fmt.Errorf("the phone is %+v", p)
		}
		return err
	}))
	phoneAddr, err := w.Nas.Address(t.Context(), "phone")
	must(t, err)

	t.Log("Each is behind a NAT that knows nothing of the other: neither gets through.")
	if _, err := phone.Run(t.Context(), "ping", "-c", "2", "-i", "0.2", "-W", "1", nasAddr); err == nil {
		t.Error("the phone reaches the nas although it knows no endpoint")
	}

	t.Log("It asks the zone as wgsd-client does. The nas is told to let it in, and they talk.")
	askAsWgsd(t, phone, mesh.HubAddr.String()+":53")
	must(t, mesh.Await(t.Context(), 2*patience, func() error {
		_, err := phone.Run(t.Context(), "ping", "-c", "1", "-W", "1", nasAddr)
		return err
	}))
	const pings, size = 100, 1000
	ping := func(from *lab.Host, to string) {
		out, err := from.Run(t.Context(), "ping", "-q", "-c", fmt.Sprint(pings), "-i", "0.01", "-s", fmt.Sprint(size), to)
		must(t, err)
		t.Log(out)
	}
	for _, p := range []struct {
		from *lab.Host
		to   string
	}{{phone, nasAddr}, {w.Nas.Host, phoneAddr}} {
		var relayed uint64
		direct := passed(t, w.Lab, mesh.HomeAAddr, mesh.HomeBAddr, func() {
			relayed = passed(t, w.Lab, mesh.HomeAAddr, mesh.HubAddr, func() { ping(p.from, p.to) })
		})
		if direct < pings*size || relayed > pings*size/5 {
			t.Errorf("%d bytes went directly and %d to the hub, want most of %d directly", direct, relayed, 2*pings*size)
		}
	}

	t.Log("meshd tells who it is, and does not ping it by its own means.")
	if _, err := w.Nas.Command(t.Context(), "ping", "-c", "1", "phone"); err == nil || !strings.Contains(err.Error(), "runs WireGuard without meshd") {
		t.Errorf("meshd ping phone: %v", err)
	}
	out, err := w.Nas.Command(t.Context(), "why", "phone")
	must(t, err)
	t.Logf("why:\n%s", out)
}
