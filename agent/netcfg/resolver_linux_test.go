package netcfg

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"
	"golang.org/x/sys/unix"

	"meshd/agent/netcfg/nstest"
	"meshd/dnssd"
)

// toolFolder has programs whose packages would take over the machine's resolver:
// deploy/tools.sh unpacks them there.
const toolFolder = "/opt/meshd-tools"

// tool returns the folder of an unpacked package, empty if it isn't there.
func tool(t *testing.T, name string) string {
	dir := filepath.Join(toolFolder, name)
	if _, err := os.Stat(dir); err != nil {
		t.Logf("no %s: deploy/tools.sh unpacks it; not seen with the real one", dir)
		return ""
	}
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return string(text)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

// awaitThat waits until ok, and fails the test after 30 s.
func awaitThat(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// ownEtc gives the test an /etc with a hosts file, users and nothing else.
func ownEtc(t *testing.T) {
	t.Helper()
	passwd, group := read(t, "/etc/passwd"), read(t, "/etc/group")
	libraries, _ := os.ReadFile("/etc/ld.so.cache")
	must(t, unix.Mount("etc", "/etc", "tmpfs", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount("/etc", unix.MNT_DETACH)) })
	passwd, group = withoutUser(passwd), withoutUser(group)
	write(t, "/etc/passwd", passwd+"systemd-resolve:x:996:996::/:/usr/sbin/nologin\n")
	write(t, "/etc/group", group+"systemd-resolve:x:996:\n")
	write(t, "/etc/ld.so.cache", string(libraries))
	write(t, "/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
	write(t, "/etc/hosts", "127.0.0.1 localhost\n192.0.2.1 printer")
	write(t, "/etc/resolv.conf", "nameserver 192.0.2.53\n")
	write(t, "/etc/nsswitch.conf", "hosts: files dns\n")
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/no-bus")
}

// withoutUser leaves out who systemd-resolved is on the machine.
func withoutUser(file string) (rest string) {
	for line := range strings.Lines(file) {
		if !strings.HasPrefix(line, "systemd-resolve:") {
			rest += line
		}
	}
	return rest
}

// root reports whether the test may be any user, which it can't in a user
// namespace.
func root(t *testing.T) bool { return strings.Contains(read(t, "/proc/self/uid_map"), "4294967295") }

// ownBus starts a system bus on which everybody may be anything.
func ownBus(t *testing.T) *dbus.Conn {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "bus") // t.TempDir is for root only
	must(t, err)
	socket, config := filepath.Join(dir, "bus"), filepath.Join(dir, "bus.conf")
	write(t, config, `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=`+socket+`</listen><auth>EXTERNAL</auth><policy context="default">
<allow user="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy></busconfig>`)
	must(t, os.Chmod(dir, 0o755))
	spawn(t, "dbus-daemon", "--config-file="+config, "--nofork")
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+socket)
	var conn *dbus.Conn
	awaitThat(t, "a bus", func() (ok bool) {
		var err error
		conn, err = dbus.ConnectSystemBus()
		return err == nil
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

// spawn starts a program that ends with the test.
func spawn(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // it was killed, which is an error
	})
}

// owned waits until a name is on the bus.
func owned(t *testing.T, conn *dbus.Conn, name string) {
	t.Helper()
	awaitThat(t, name+" on the bus", func() (yes bool) {
		conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, name).Store(&yes)
		return yes
	})
}

// testNames is a mesh on the link of a test.
func testNames(iface string) Names {
	return Names{
		Interface: iface, Zone: "home.internal", Reverse: []string{"96.100.in-addr.arpa"},
		Servers: []netip.Addr{netip.MustParseAddr("100.96.0.1")}, Prefixes: []netip.Prefix{netip.MustParsePrefix("100.96.0.0/16")}, Hosts: home.Hosts,
	}
}

func newTestResolver(record string) *resolver {
	return NewResolver(ResolverConfig{Mesh: "home", Record: record}).(*resolver)
}

// put sets names twice and checks that they go the way wanted.
func put(t *testing.T, r Resolver, n Names, want Way) Resolution {
	t.Helper()
	var got Resolution
	for range 2 {
		var err error
		if got, err = r.Set(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		if got.Way != want {
			t.Fatalf("got way %s (%q), want %s", got.Way, got.Reasons, want)
		}
	}
	return got
}

func TestResolverHosts(t *testing.T) {
	ownEtc(t)
	record := filepath.Join(t.TempDir(), "record")
	before := read(t, "/etc/hosts")
	n := testNames("none0")
	n.Servers = nil
	for _, kind := range []string{"file", "link", "mount", "second name", "odd mode"} {
		switch kind {
		case "link":
			must(t, os.Rename("/etc/hosts", "/etc/real"))
			must(t, os.Symlink("real", "/etc/hosts"))
		case "mount":
			must(t, os.Remove("/etc/hosts"))
			must(t, os.Rename("/etc/real", "/etc/hosts"))
			must(t, unix.Mount("/etc/hosts", "/etc/hosts", "", unix.MS_BIND, ""))
		case "second name":
			must(t, unix.Unmount("/etc/hosts", 0))
			must(t, os.Link("/etc/hosts", "/etc/second"))
		case "odd mode":
			must(t, os.Remove("/etc/second"))
			must(t, os.Chmod("/etc/hosts", 0o640))
			if root(t) {
				must(t, os.Chown("/etc/hosts", 996, 996))
			}
		}
		var old, now unix.Stat_t
		must(t, unix.Lstat("/etc/hosts", &old))
		put(t, newTestResolver(record), n, ByHosts)
		if got := read(t, "/etc/hosts"); !strings.Contains(got, "nas.home.internal nas ") || !strings.HasPrefix(got, before+"\n") {
			t.Errorf("%s: got\n%s", kind, got)
		}
		t.Logf("%s: a process that crashed left this; another puts it back", kind)
		must(t, newTestResolver(record).Clear(t.Context()))
		if got := read(t, "/etc/hosts"); got != before {
			t.Errorf("%s: got %q, want %q", kind, got, before)
		}
		must(t, unix.Lstat("/etc/hosts", &now))
		if old.Mode != now.Mode || old.Uid != now.Uid || old.Gid != now.Gid || old.Nlink != now.Nlink {
			t.Errorf("%s: got %+v, want %+v", kind, now, old)
		}
		if _, err := os.Stat(record); !os.IsNotExist(err) {
			t.Errorf("%s: the record is still there: %v", kind, err)
		}
	}
	if left, _ := filepath.Glob("/etc/.hosts*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}

	t.Log("a record that is damaged keeps nobody from taking the names out")
	put(t, newTestResolver(record), n, ByHosts)
	write(t, record, "{")
	must(t, newTestResolver(record).Clear(t.Context()))
	if got := read(t, "/etc/hosts"); got != before {
		t.Errorf("got %q, want %q", got, before)
	}

	t.Log("where nobody reads the file it is left alone")
	write(t, "/etc/nsswitch.conf", "hosts: dns\n")
	got := put(t, newTestResolver(record), n, ByNothing)
	if len(got.Reasons) != 4 || !strings.Contains(got.Reasons[3], "nsswitch.conf") {
		t.Errorf("got %q", got.Reasons)
	}
}

// standIn is a program on the bus that keeps what it was told.
type standIn struct {
	told   chan string
	refuse chan struct{} // a token for each time that it is to refuse
}

func (s standIn) SetLinkDNS(index int32, servers []linkServer) *dbus.Error {
	for _, a := range servers {
		s.told <- "dns " + net.IP(a.Address).String()
	}
	return nil
}

func (s standIn) SetLinkDomains(index int32, domains []linkDomain) *dbus.Error {
	for _, d := range domains {
		s.told <- "domain " + d.Domain + map[bool]string{true: " for routing"}[d.RoutingOnly]
	}
	return nil
}

func (s standIn) SetLinkDefaultRoute(index int32, on bool) *dbus.Error {
	s.told <- "default " + map[bool]string{true: "yes", false: "no"}[on]
	return nil
}

func (s standIn) SetLinkLLMNR(index int32, mode string) *dbus.Error {
	s.told <- "llmnr " + mode
	return nil
}

func (s standIn) RevertLink(index int32) *dbus.Error {
	s.told <- "revert"
	return nil
}

func (s standIn) Reload(flags uint32) *dbus.Error {
	if len(s.refuse) > 0 {
		<-s.refuse
		return dbus.MakeFailedError(errors.New("not now"))
	}
	s.told <- map[bool]string{true: "reload dns", false: "reload else"}[flags == nmRestartDNS]
	return nil
}

// hear takes what a stand-in was told, in order.
func (s standIn) hear(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-s.told:
			if got != w {
				t.Errorf("it was told %q, want %q", got, w)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("it was never told %q", w)
		}
	}
	select {
	case got := <-s.told:
		t.Errorf("it was told %q as well", got)
	default:
	}
}

func TestMeteredOnTheBus(t *testing.T) {
	host := New(nil)
	metered := func(want bool, who string) {
		t.Helper()
		if got, err := host.Metered(); err != nil || got != want {
			t.Errorf("%s: got %v, %v", who, got, err)
		}
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/no-bus")
	metered(false, "no bus")
	conn := ownBus(t)
	metered(false, "no NetworkManager")
	said := &prop.Prop{Value: uint32(nmGuessYes), Emit: prop.EmitFalse}
	_, err := prop.Export(conn, nmPath, prop.Map{nmName: {"Metered": said}})
	must(t, err)
	_, err = conn.RequestName(nmName, 0)
	must(t, err)
	metered(true, "NetworkManager, of a phone")
	said.Value = uint32(nmNotMetered)
	_, err = prop.Export(conn, nmPath, prop.Map{nmName: {"Metered": said}})
	must(t, err)
	metered(false, "NetworkManager, of a cable")
}

func TestResolverOnTheBus(t *testing.T) {
	ownEtc(t)
	conn := ownBus(t)
	nstest.Veth(t, "mesh0")
	record := filepath.Join(t.TempDir(), "record")
	n := testNames("mesh0")
	r := newTestResolver(record)

	t.Log("systemd-resolved runs, but nobody asks it")
	s := standIn{make(chan string, 64), make(chan struct{}, 1)}
	must(t, conn.Export(s, resolvedPath, strings.TrimSuffix(resolvedAPI, ".")))
	_, err := conn.RequestName(resolvedName, 0)
	must(t, err)
	if got := put(t, r, n, ByHosts); !strings.Contains(got.Reasons[0], "do not ask it: /etc/resolv.conf names 192.0.2.53") {
		t.Errorf("got %q", got.Reasons)
	}
	s.hear(t)

	t.Log("now they do: the hosts file is put back, and the link gets its zone")
	write(t, "/etc/resolv.conf", "nameserver 127.0.0.53\n")
	_, err = r.Set(t.Context(), n)
	must(t, err)
	s.hear(t, "dns 100.96.0.1", "domain home.internal", "domain 96.100.in-addr.arpa for routing", "default no", "llmnr no")
	if got := read(t, "/etc/hosts"); strings.Contains(got, "meshd") {
		t.Errorf("the hosts file has still names: %q", got)
	}
	must(t, newTestResolver(record).Clear(t.Context()))
	s.hear(t, "revert")

	t.Log("NetworkManager writes resolv.conf, and has dnsmasq ask")
	_, err = conn.ReleaseName(resolvedName)
	must(t, err)
	must(t, conn.Export(s, nmPath, nmName))
	mode := &prop.Prop{Value: "default", Emit: prop.EmitFalse}
	_, err = prop.Export(conn, nmDNSPath, prop.Map{strings.TrimSuffix(nmDNSAPI, "."): {"Mode": mode}})
	must(t, err)
	_, err = conn.RequestName(nmName, 0)
	must(t, err)
	write(t, "/etc/resolv.conf", "# Generated by NetworkManager\nnameserver 127.0.0.1\n")
	if got := put(t, r, n, ByHosts); !strings.Contains(got.Reasons[1], `its dns mode is "default"`) {
		t.Errorf("got %q", got.Reasons)
	}
	mode.Value = "dnsmasq"
	_, err = prop.Export(conn, nmDNSPath, prop.Map{strings.TrimSuffix(nmDNSAPI, "."): {"Mode": mode}})
	must(t, err)
	s.refuse <- struct{}{}
	if _, err := r.Set(t.Context(), n); err == nil || !strings.Contains(err.Error(), "not now") {
		t.Errorf("got %v from a NetworkManager that refuses", err)
	}
	put(t, r, n, ByNetworkManager)
	s.hear(t, "reload dns")
	if got := read(t, nmFile("home")); !strings.Contains(got, "server=/home.internal/100.96.0.1\nserver=/96.100.in-addr.arpa/100.96.0.1\n") {
		t.Errorf("dnsmasq is told %q", got)
	}
	if got := read(t, "/etc/hosts"); !strings.Contains(got, " nas ") {
		t.Errorf("short names are not known: %q", got)
	}
	must(t, newTestResolver(record).Clear(t.Context()))
	s.hear(t, "reload dns")
	if _, err := os.Stat(nmFile("home")); !os.IsNotExist(err) {
		t.Errorf("dnsmasq's file is still there: %v", err)
	}
	if got := read(t, "/etc/hosts"); strings.Contains(got, "meshd") {
		t.Errorf("the hosts file has still names: %q", got)
	}
}

// serveZone answers for a mesh with a nas until the test ends.
func serveZone(t *testing.T) {
	t.Helper()
	zone, err := dnssd.NewZone(dnssd.ZoneConfig{Name: "home.internal", Prefixes: testNames("").Prefixes, Server: testNames("").Servers})
	must(t, err)
	must(t, zone.Set(dnssd.Member{Name: "nas", Key: [32]byte{1}, Addresses: []netip.Addr{netip.MustParseAddr("100.96.0.2")}, Online: true}))
	udp, tcp, err := dnssd.Listen(t.Context(), netip.AddrPortFrom(testNames("").Servers[0], dnsPort))
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- dnssd.NewServer(dnssd.ServerConfig{Zone: zone, UDP: []net.PacketConn{udp}, TCP: []net.Listener{tcp}}).Run(ctx)
	}()
	t.Cleanup(func() { stop(); <-done })
}

// TestRealResolved has systemd-resolved itself ask a server of ours.
func TestRealResolved(t *testing.T) {
	dir := tool(t, "systemd-resolved")
	if dir == "" {
		return
	}
	if err := exec.Command(filepath.Join(dir, "lib/systemd/systemd-resolved"), "--version").Run(); err != nil || !root(t) {
		t.Logf("it does not run here, or may not: %v", err)
		return
	}
	ownEtc(t)
	write(t, "/etc/resolv.conf", "nameserver 127.0.0.53\n")
	conn := ownBus(t)
	nstest.IP(t, "link set lo up")
	nstest.Veth(t, "mesh0")
	nstest.IP(t, "address add 100.96.0.1/32 dev mesh0")
	must(t, os.MkdirAll("/run/systemd/resolve", 0o755))
	must(t, os.Chown("/run/systemd/resolve", 996, 996))
	spawn(t, filepath.Join(dir, "lib/systemd/systemd-resolved"))
	owned(t, conn, resolvedName)

	serveZone(t)
	record := filepath.Join(t.TempDir(), "record")
	stub := netip.MustParseAddrPort("127.0.0.53:53")
	ask := func(name, qtype string) string {
		lines, err := dnssd.Query(t.Context(), stub, name, qtype)
		if err != nil {
			return err.Error()
		}
		return strings.Join(lines, " ")
	}
	put(t, newTestResolver(record), testNames("mesh0"), ByResolved)
	awaitThat(t, "nas by systemd-resolved", func() bool { return strings.HasSuffix(ask("nas.home.internal", "A"), " 100.96.0.2") })
	if got := ask("2.0.96.100.in-addr.arpa", "PTR"); !strings.HasSuffix(got, " nas.home.internal.") {
		t.Errorf("got %q for the address", got)
	}
	if got := ask("nobody.home.internal", "A"); !strings.Contains(got, "NXDOMAIN") {
		t.Errorf("got %q for nobody", got)
	}
	awaitThat(t, "the zone searched for short names", func() bool {
		text, _ := os.ReadFile("/run/systemd/resolve/stub-resolv.conf")
		return slices.Contains(parseResolvConf(string(text)).search, "home.internal")
	})

	t.Log("put back by another process, it knows no nas")
	must(t, newTestResolver(record).Clear(t.Context()))
	if got := ask("nas.home.internal", "A"); strings.Contains(got, "100.96.0.2") {
		t.Errorf("got %q", got)
	}
}

// TestRealResolvconf has both programs of that name write resolv.conf.
func TestRealResolvconf(t *testing.T) {
	for _, name := range []string{"openresolv", "resolvconf"} {
		t.Run(name, func(t *testing.T) {
			dir := tool(t, name)
			if dir == "" {
				return
			}
			ownEtc(t)
			installResolvconf(t, dir)
			nstest.Veth(t, "mesh0")
			_, err := runResolvconf(t.Context(), "nameserver 192.0.2.53\nsearch lan\n", "-a", "eth0")
			must(t, err)
			if name == "openresolv" {
				_, err = runResolvconf(t.Context(), "", "-u")
				must(t, err)
			}
			before := read(t, "/etc/resolv.conf")
			if c := parseResolvConf(before); len(c.servers) != 1 {
				t.Fatalf("resolvconf wrote\n%s", before)
			}
			record := filepath.Join(t.TempDir(), "record")
			r := newTestResolver(record)
			put(t, r, testNames("mesh0"), ByResolvconf)
			c := parseResolvConf(read(t, "/etc/resolv.conf"))
			if len(c.servers) != 2 || c.servers[0] != netip.MustParseAddr("100.96.0.1") || !slices.Contains(c.search, "home.internal") || !slices.Contains(c.search, "lan") {
				t.Errorf("resolv.conf has servers %v and searches %q", c.servers, c.search)
			}
			if got, want := r.Upstream(), netip.MustParseAddrPort("192.0.2.53:53"); !slices.Equal(got, []netip.AddrPort{want}) {
				t.Errorf("other questions go to %v, want %v", got, want)
			}

			t.Log("a second mesh leaves it alone")
			other := NewResolver(ResolverConfig{Mesh: "work", Record: filepath.Join(t.TempDir(), "record")})
			if got := put(t, other, testNames("mesh1"), ByHosts); !strings.Contains(got.Reasons[2], "mesh on mesh0 of this machine has it") {
				t.Errorf("got %q", got.Reasons)
			}
			must(t, other.Clear(t.Context()))

			t.Log("put back by another process")
			must(t, newTestResolver(record).Clear(t.Context()))
			if got := read(t, "/etc/resolv.conf"); got != before {
				t.Errorf("got\n%s\nwant\n%s", got, before)
			}
		})
	}
}

// installResolvconf makes an unpacked package runnable: it finds its parts in a
// copy, as those of the machine are not ours to add to.
func installResolvconf(t *testing.T, dir string) {
	t.Helper()
	root := t.TempDir()
	script := `cp -a "$1/." "$2" && cp -a "$1/etc/." /etc && mkdir -p /run/resolvconf/interface &&
grep -rlE '(^|[^a-z])/s?bin/resolvconf|/lib/resolvconf' "$2/sbin" "$2/lib" /etc/resolvconf 2>/dev/null |
	xargs sed -i -E "s#([^a-zA-Z/]|^)(/s?bin/resolvconf|/lib/resolvconf)#\1$2\2#g"
[ ! -d /etc/resolvconf ] || { ln -sfn /run/resolvconf /etc/resolvconf/run; ln -sfn /run/resolvconf/resolv.conf /etc/resolv.conf; : > /run/resolvconf/enable-updates; : > /run/resolvconf/resolv.conf; }
[ -d /etc/resolvconf ] || echo '# Generated by resolvconf' > /etc/resolv.conf`
	if out, err := exec.Command("sh", "-ec", script, "sh", dir, root).CombinedOutput(); err != nil {
		t.Fatalf("install %s: %v: %s", dir, err, out)
	}
	t.Cleanup(func() { os.RemoveAll("/run/resolvconf") })
	t.Setenv("PATH", filepath.Join(root, "sbin")+":"+os.Getenv("PATH"))
}
