package mdns

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// childEnv makes this test binary a station: its value is the station's number.
const childEnv = "MESHD_TEST_MDNS_STATION"

// TestMain lets no goroutine stay, but zeroconf's that repeats announcements: it
// can't be stopped, and ends by itself.
func TestMain(m *testing.M) {
	switch id := os.Getenv(childEnv); id {
	case "":
	case "rounds":
		os.Exit(runRounds())
	default:
		os.Exit(runStation(id[0]))
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/grandcat/zeroconf.(*Server).probe"))
}

// runStation is a member on the interface eth0 of the namespace it runs in. It
// prints whom it has found, a line of JSON each time.
func runStation(id byte) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	ifi, err := net.InterfaceByName("eth0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	on := Interface{Name: ifi.Name}
	addresses, _ := ifi.Addrs()
	for _, a := range addresses {
		on.Addresses = append(on.Addresses, netip.MustParsePrefix(a.String()).Addr())
	}
	out := json.NewEncoder(os.Stdout)
	l := New(Config{Secret: secret, Key: [32]byte{id}, Changed: func(p []Peer) { out.Encode(p) }})
	l.SetMembers([][32]byte{{'1'}, {'2'}})
	l.SetInterfaces(41641, []Interface{on})
	if err := l.Run(ctx); err != nil {
		return 1
	}
	return 0
}

// runRounds browses many times and announces between: it fails if that leaves
// descriptors or goroutines behind.
func runRounds() int {
	on := []Interface{{Name: "eth0", Addresses: []netip.Addr{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("2001:db8::1")}}}
	count := func() int {
		fds, _ := os.ReadDir("/proc/self/fd")
		return len(fds) + runtime.NumGoroutine()
	}
	browse := func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if err := (zeroconfLink{}).browse(ctx, on, func(answer) {}); err != nil {
			panic(err)
		}
		ctx, cancel = context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if err := listen(ctx, service, on, func(mention) {}); err != nil {
			panic(err)
		}
	}
	browse()
	before := count()
	for range 10 {
		end, err := zeroconfLink{}.announce("0123456789abcdef", 7, on)
		if err != nil {
			panic(err)
		}
		browse()
		end()
	}
	deadline := time.Now().Add(10 * time.Second)
	for count() > before {
		if time.Now().After(deadline) {
			fmt.Fprintf(os.Stderr, "%d descriptors and goroutines before, %d after\n", before, count())
			return 1
		}
		<-time.After(50 * time.Millisecond)
	}
	return 0
}

// lan is a bridge and hosts around it, each a network namespace.
type lan struct{ prefix string }

func newLAN(t *testing.T, hosts ...byte) *lan {
	t.Helper()
	l := &lan{prefix: fmt.Sprintf("mdns%d-", os.Getpid())}
	l.namespace(t, "lan")
	run(t, "ip", "-n", l.prefix+"lan", "link", "add", "br0", "up", "type", "bridge", "mcast_snooping", "0")
	for _, id := range hosts {
		ns := l.prefix + string(id)
		l.namespace(t, string(id))
		run(t, "ip", "-n", ns, "link", "set", "lo", "up")
		run(t, "ip", "-n", ns, "link", "add", "eth0", "type", "veth", "peer", "name", "port"+string(id), "netns", l.prefix+"lan")
		run(t, "ip", "-n", l.prefix+"lan", "link", "set", "port"+string(id), "master", "br0", "up")
		run(t, "ip", "-n", ns, "address", "add", "192.168.1."+string(id)+"/24", "dev", "eth0")
		run(t, "ip", "-n", ns, "address", "add", "2001:db8::"+string(id)+"/64", "dev", "eth0", "nodad")
		run(t, "ip", "-n", ns, "link", "set", "eth0", "up")
	}
	return l
}

func (l *lan) namespace(t *testing.T, name string) {
	t.Helper()
	run(t, "ip", "netns", "add", l.prefix+name)
	t.Cleanup(func() { run(t, "ip", "netns", "delete", l.prefix+name) })
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// start runs a station on host id; what it finds comes by the channel, which is
// closed with it.
func (l *lan) start(t *testing.T, id byte) (found <-chan []Peer, stop func()) {
	t.Helper()
	cmd := exec.Command("ip", "netns", "exec", l.prefix+string(id), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(id))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	peers := make(chan []Peer, 16)
	go func() {
		defer close(peers)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var p []Peer
			if json.Unmarshal(lines.Bytes(), &p) == nil {
				peers <- p
			}
		}
	}()
	end := func() {
		if cmd.ProcessState == nil {
			cmd.Process.Signal(unix.SIGTERM) // it may be gone
			cmd.Wait()
		}
	}
	t.Cleanup(end)
	return peers, end
}

// expect waits until exactly this peer was found.
func expect(t *testing.T, what string, found <-chan []Peer, id byte) {
	t.Helper()
	deadline := time.After(2*round + pause)
	for {
		select {
		case peers, ok := <-found:
			if !ok {
				t.Fatalf("%s: the station ended", what)
			}
			if len(peers) != 1 || peers[0].Key[0] != id || peers[0].Port != 41641 {
				t.Fatalf("%s: got %v, want member %c", what, peers, id)
			}
			var got []string
			for _, a := range peers[0].Addresses {
				got = append(got, a.String())
			}
			all := strings.Join(got, " ")
			if strings.Contains(all, "192.168.1."+string(id)) && strings.Contains(all, "2001:db8::"+string(id)) {
				return
			}
		case <-deadline:
			t.Fatalf("%s: member %c not found", what, id)
		}
	}
}

// TestNamespaces is the real thing: two hosts at a bridge, nothing else.
func TestNamespaces(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: no namespaces, nothing tested")
		return
	}
	l := newLAN(t, '1', '2')
	one, stop1 := l.start(t, '1')
	two, stop2 := l.start(t, '2')
	expect(t, "1 at first", one, '2')
	expect(t, "2 at first", two, '1')
	l.avahi(t, '2')
	stop1()
	stop2()
	one, stop1 = l.start(t, '1')
	two, stop2 = l.start(t, '2')
	expect(t, "1 after a restart of both", one, '2')
	expect(t, "2 after a restart of both", two, '1')
	stop1()
	stop2()
}

func TestRoundsLeaveNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: no namespaces, nothing tested")
		return
	}
	l := newLAN(t, '1')
	cmd := exec.Command("ip", "netns", "exec", l.prefix+"1", os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=rounds")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("rounds: %v\n%s", err, out)
	}
}

// avahi sees member 1 from a host with a stock responder and browser, and sees
// nothing there that names it. It isn't among the tools that are installed for
// tests, as its package starts a responder on the machine.
func (l *lan) avahi(t *testing.T, id byte) {
	t.Helper()
	for _, name := range []string{"avahi-daemon", "avahi-browse", "dbus-daemon"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Logf("no %s: not seen with other eyes", name)
			return
		}
	}
	dir := t.TempDir()
	bus := "unix:path=" + filepath.Join(dir, "bus")
	config := filepath.Join(dir, "bus.conf")
	write(t, config, `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>`+bus+`</listen><policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy></busconfig>`)
	write(t, filepath.Join(dir, "avahi.conf"), "[server]\nallow-interfaces=eth0\nratelimit-interval-usec=0\n")
	script := filepath.Join(dir, "run.sh")
	// ip netns exec gives a mount namespace, so the pid file is in nobody's way.
	write(t, script, `set -e
mkdir -p /run/avahi-daemon
mount -t tmpfs none /run/avahi-daemon
cd `+dir+`
dbus-daemon --config-file=bus.conf --nofork & bus=$!
trap 'kill $avahi $bus 2>/dev/null; wait' EXIT
trap 'exit 1' TERM
n=0; until [ -S bus ]; do n=$((n+1)); [ $n -lt 100 ]; sleep 0.1; done
avahi-daemon --no-drop-root --no-rlimits --no-chroot -f avahi.conf & avahi=$!
n=0; until timeout 5 avahi-browse -rpt _meshd._udp 2>/dev/null | grep -q "$1"; do n=$((n+1)); [ $n -lt 15 ]; sleep 0.5; done
avahi-browse -rpt _meshd._udp
`)
	instance := Instance(secret, Day(time.Now()), [32]byte{'1'})
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", l.prefix+string(id), "sh", script, instance)
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) } // the script ends what it started
	cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+bus)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("avahi-browse does not find %s: %v\n%s", instance, err, out)
	}
	resolved := ""
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "=;eth0;") && strings.Contains(line, instance) {
			resolved += line
		}
	}
	if !strings.Contains(resolved, ";"+instance+".local;") || !strings.Contains(resolved, ";192.168.1.1;41641;") {
		t.Errorf("avahi-browse: got\n%s\nwant %s at 192.168.1.1, port 41641", out, instance)
	}
	if host, _ := os.Hostname(); host != "" && strings.Contains(resolved, host) {
		t.Errorf("the announcement names the host %s:\n%s", host, resolved)
	}
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
