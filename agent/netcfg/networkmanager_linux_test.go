package netcfg

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"meshd/agent/netcfg/nstest"
	"meshd/dnssd"
)

// TestRealNetworkManager has NetworkManager itself, and the dnsmasq that it runs,
// ask a server of ours.
func TestRealNetworkManager(t *testing.T) {
	dir := tool(t, "networkmanager")
	if dir == "" {
		return
	}
	libraries, err := filepath.Glob(dir + "/usr/lib/*-linux-gnu*")
	must(t, err)
	withLibraries := "exec env LD_LIBRARY_PATH=" + strings.Join(libraries, ":") + " "
	if err := exec.Command("sh", "-c", withLibraries+dir+"/usr/sbin/NetworkManager --version").Run(); err != nil || !root(t) {
		t.Logf("it does not run here, or may not: %v", err)
		return
	}
	ownEtc(t)
	own(t, "/var/lib")
	own(t, "/usr/local/sbin")                                         // where NetworkManager looks for dnsmasq
	must(t, unix.Mount("sysfs", "/sys", "sysfs", unix.MS_RDONLY, "")) // else it waits for udev
	t.Cleanup(func() { must(t, unix.Unmount("/sys", unix.MNT_DETACH)) })
	write(t, "/usr/local/sbin/dnsmasq", "#!/bin/sh\n"+withLibraries+dir+`/usr/sbin/dnsmasq "$@"`+"\n")
	must(t, os.Chmod("/usr/local/sbin/dnsmasq", 0o755))
	write(t, "/etc/NetworkManager/NetworkManager.conf", `[main]
dns=dnsmasq
rc-manager=file
auth-polkit=false
[keyfile]
unmanaged-devices=*,except:interface-name:lan0
`)
	write(t, "/etc/NetworkManager/system-connections/lan.nmconnection", `[connection]
id=lan
type=ethernet
interface-name=lan0
[ipv4]
method=manual
address1=192.168.1.2/24
dns=192.168.1.1
[ipv6]
method=disabled
`)
	must(t, os.Chmod("/etc/NetworkManager/system-connections/lan.nmconnection", 0o600))
	conn := ownBus(t)
	nstest.IP(t, "link set lo up")
	nstest.Veth(t, "lan0")
	nstest.Veth(t, "mesh0")
	nstest.IP(t, "address add 100.96.0.1/32 dev mesh0")
	dnsmasq := func() (pid int) {
		text, _ := os.ReadFile("/run/NetworkManager/dnsmasq.pid") // none: it does not run
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return pid
	}
	t.Cleanup(func() { // it outlives NetworkManager, which was killed
		if pid := dnsmasq(); pid != 0 {
			must(t, unix.Kill(pid, unix.SIGKILL))
		}
	})
	spawn(t, "sh", "-c", withLibraries+dir+"/usr/sbin/NetworkManager --debug --log-level=INFO")
	owned(t, conn, nmName)
	awaitThat(t, "NetworkManager's resolv.conf", func() bool { return strings.Contains(read(t, "/etc/resolv.conf"), "127.0.0.1") })

	serveZone(t)
	record := filepath.Join(t.TempDir(), "record")
	stub := netip.MustParseAddrPort("127.0.0.1:53")
	ask := func(name, qtype string) string {
		lines, err := dnssd.Query(t.Context(), stub, name, qtype)
		if err != nil {
			return err.Error()
		}
		return strings.Join(lines, " ")
	}
	put(t, newTestResolver(record), testNames("mesh0"), ByNetworkManager)
	awaitThat(t, "nas by NetworkManager's dnsmasq", func() bool { return strings.HasSuffix(ask("nas.home.internal", "A"), " 100.96.0.2") })
	if got := ask("2.0.96.100.in-addr.arpa", "PTR"); !strings.HasSuffix(got, " nas.home.internal.") {
		t.Errorf("got %q for the address", got)
	}

	t.Log("put back by another process: a dnsmasq that knows no nas")
	was := dnsmasq()
	must(t, newTestResolver(record).Clear(t.Context()))
	awaitThat(t, "another dnsmasq", func() bool { pid := dnsmasq(); return pid != 0 && pid != was })
	if got := ask("nas.home.internal", "A"); strings.Contains(got, "100.96.0.2") {
		t.Errorf("got %q", got)
	}
}

// own gives the test an empty folder in place of the machine's.
func own(t *testing.T, folder string) {
	t.Helper()
	must(t, unix.Mount("own", folder, "tmpfs", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(folder, unix.MNT_DETACH)) })
}
