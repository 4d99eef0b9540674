package netcfg

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"meshd/agent/netcfg/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

const patience = 10 * time.Second

func prefixes(s ...string) (p []netip.Prefix) {
	for _, s := range s {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

// newMesh makes a TUN link that stands for the mesh's, removed after the test.
func newMesh(t *testing.T, name string) {
	t.Helper()
	nstest.IP(t, "tuntap add "+name+" mode tun")
	t.Cleanup(func() { exec.Command("ip", "link", "del", name).Run() })
}

// show returns what ip(8) says, in one line of single spaces.
func show(t *testing.T, args string) string {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

func TestAddresses(t *testing.T) {
	h := New(nil)
	nstest.Veth(t, "lan")
	nstest.Veth(t, "docker0")
	nstest.Veth(t, "unplugged")
	newMesh(t, "meshtest0")
	for _, args := range []string{
		"addr add 192.168.1.7/24 dev lan",
		"addr add 169.254.9.9/16 dev lan",
		"addr add 2001:db8::7/64 dev lan nodad",
		"addr add 2001:db8::8/64 dev lan nodad preferred_lft 0", // deprecated
		"addr add 172.17.0.1/16 dev docker0",
		"addr add 10.9.9.9/24 dev unplugged",
		"link set unpluggedp down",
		"addr add 100.96.0.7/32 dev meshtest0",
		"link set meshtest0 up",
		"link set lo up",
	} {
		nstest.IP(t, args)
	}
	want := prefixes("192.168.1.7/24", "2001:db8::7/64")
	await(t, func() string {
		got, err := h.Addresses()
		if err == nil && slices.Equal(got, want) {
			return ""
		}
		return fmt.Sprintf("got %v, %v, want %v", got, err, want)
	})
}

func TestOverlapWithHost(t *testing.T) {
	h := New(nil)
	nstest.Veth(t, "lan")
	newMesh(t, "meshtest0")
	for _, args := range []string{
		"addr add 192.168.1.7/24 dev lan",
		"addr add fd07::7/64 dev lan nodad",
		"addr add 100.96.0.7/32 dev meshtest0",
		"link set meshtest0 up",
		"route add 100.96.0.0/16 dev meshtest0",
		"route add default via 192.168.1.1",
		"route add 10.20.0.0/16 via 192.168.1.2",
		"route add 10.30.0.0/16 via 192.168.1.2 table 52",
		"route add blackhole 10.40.0.0/16",
		"route add 0.0.0.0/1 via 192.168.1.3",
	} {
		nstest.IP(t, args)
	}
	t.Cleanup(func() { exec.Command("ip", "route", "del", "blackhole", "10.40.0.0/16").Run() })
	for _, test := range []struct{ prefix, want string }{
		{"100.96.0.0/16", ""},
		{"192.168.0.0/16", "192.168.1.0/24 on lan"},
		{"10.20.30.0/24", "10.20.0.0/16 on lan"},
		{"10.30.0.0/15", "10.30.0.0/16 on lan"},
		{"10.40.0.0/16", ""},
		{"10.50.0.0/16", ""},
		{"fd07::/48", "fd07::/64 on lan"},
		{"fd08::/48", ""},
	} {
		got, found, err := h.Overlap(netip.MustParsePrefix(test.prefix), "meshtest0")
		if err != nil || got != test.want || found != (test.want != "") {
			t.Errorf("%s overlaps %q (%v, %v), want %q", test.prefix, got, found, err, test.want)
		}
	}
	if got, found, err := h.Overlap(netip.MustParsePrefix("100.96.0.0/16"), "meshtest1"); !found || got != "100.96.0.7/32 on meshtest0" {
		t.Errorf("another mesh: overlaps %q (%v, %v)", got, found, err)
	}
}

var sample = Config{
	Addresses: prefixes("100.96.0.7/32", "fd96::7/128"),
	Routes:    prefixes("100.96.0.0/16", "fd96::/48"),
	MTU:       1400,
}

func TestConfigure(t *testing.T) {
	h := New(nil)
	newMesh(t, "meshtest0")
	other := sample
	other.Addresses, other.Routes, other.MTU = prefixes("100.96.0.8/32"), prefixes("100.96.0.0/16", "10.1.0.0/16"), 1300
	narrow := sample
	narrow.Narrow = map[netip.Addr]int{netip.MustParseAddr("100.96.0.9"): 1216, netip.MustParseAddr("fd96::9"): 1216}
	for _, test := range []struct {
		config                Config
		addrs, route4, route6 string
	}{
		{sample, "mtu 1400 inet 100.96.0.7/32 inet6 fd96::7/128",
			"100.96.0.0/16 proto 109 scope link src 100.96.0.7 linkdown", "fd96::/48 proto 109 src fd96::7 metric 1024 linkdown pref medium"},
		{sample, "mtu 1400 inet 100.96.0.7/32 inet6 fd96::7/128",
			"100.96.0.0/16 proto 109 scope link src 100.96.0.7 linkdown", "fd96::/48 proto 109 src fd96::7 metric 1024 linkdown pref medium"},
		{narrow, "mtu 1400 inet 100.96.0.7/32 inet6 fd96::7/128",
			"100.96.0.0/16 proto 109 scope link src 100.96.0.7 linkdown 100.96.0.9 proto 109 scope link src 100.96.0.7 linkdown mtu 1216",
			"fd96::9 proto 109 src fd96::7 metric 1024 linkdown mtu 1216 pref medium fd96::/48 proto 109 src fd96::7 metric 1024 linkdown pref medium"},
		{other, "mtu 1300 inet 100.96.0.8/32",
			"10.1.0.0/16 proto 109 scope link src 100.96.0.8 linkdown 100.96.0.0/16 proto 109 scope link src 100.96.0.8 linkdown", ""},
		{sample, "mtu 1400 inet 100.96.0.7/32 inet6 fd96::7/128",
			"100.96.0.0/16 proto 109 scope link src 100.96.0.7 linkdown", "fd96::/48 proto 109 src fd96::7 metric 1024 linkdown pref medium"},
	} {
		if err := h.Configure("meshtest0", test.config); err != nil {
			t.Fatal(err)
		}
		if got := addrs(t, "meshtest0"); got != test.addrs {
			t.Errorf("addresses: %s, want %s", got, test.addrs)
		}
		if got := show(t, "route show dev meshtest0"); got != test.route4 {
			t.Errorf("routes: %s, want %s", got, test.route4)
		}
		if got := show(t, "-6 route show dev meshtest0 proto 109"); strings.ReplaceAll(got, " src", " proto 109 src") != test.route6 {
			t.Errorf("routes: %s, want %s", got, test.route6)
		}
	}
	if err := h.Remove("meshtest0"); err != nil {
		t.Error(err)
	}
	if got := addrs(t, "meshtest0") + show(t, "route show dev meshtest0"); got != "mtu 1400" {
		t.Errorf("after removal: %s", got)
	}
}

// addrs returns the MTU and the addresses of an interface.
func addrs(t *testing.T, iface string) string {
	t.Helper()
	words := strings.Fields(show(t, "addr show dev "+iface))
	var got []string
	for i, w := range words {
		if w == "mtu" || w == "inet" || w == "inet6" {
			got = append(got, w, words[i+1])
		}
	}
	return strings.Join(got, " ")
}

// A second Configure has nothing to say to the kernel.
func TestConfigureIsIdempotent(t *testing.T) {
	h := New(nil)
	newMesh(t, "meshtest0")
	if err := h.Configure("meshtest0", sample); err != nil {
		t.Fatal(err)
	}
	sock, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	// The kernel tells of a new IPv6 address once more when it gets round to it, so
	// a round may hear of the first Configure; a Configure that changes something
	// is heard in every round.
	var told []string
	for round := range 5 {
		if err := h.Configure("meshtest0", sample); err != nil {
			t.Fatal(err)
		}
		marker := fmt.Sprintf("marker%d", round)
		newMesh(t, marker) // stays down, so that nothing follows but its own news
		if told = changesBefore(t, sock, marker); len(told) == 0 {
			return
		}
	}
	t.Errorf("the kernel is told something each time: %v", told)
}

// changesBefore returns what the kernel tells of before it tells of an interface.
func changesBefore(t *testing.T, sock *nl.NetlinkSocket, iface string) (told []string) {
	t.Helper()
	for {
		messages, _, err := sock.Receive()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			if bytes.Contains(m.Data, []byte(iface)) {
				return told
			}
			if !bytes.Contains(m.Data, []byte("marker")) {
				told = append(told, fmt.Sprintf("type %d: %x", m.Header.Type, m.Data))
			}
		}
	}
}

func TestConfigureErrors(t *testing.T) {
	h := New(nil)
	if err := h.Configure("absent0", sample); err == nil || !strings.Contains(err.Error(), `configure interface "absent0"`) {
		t.Errorf("got %v", err)
	}
	if err := h.Remove("absent0"); err != nil {
		t.Errorf("remove: %v", err)
	}
	nstest.Veth(t, "lan")
	newMesh(t, "meshtest0")
	nstest.IP(t, "route add 100.96.0.0/16 dev lan")
	err := h.Configure("meshtest0", sample)
	if want := "add route 100.96.0.0/16 to meshtest0: the host has another route to the same prefix"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if got := show(t, "route show 100.96.0.0/16"); got != "100.96.0.0/16 dev lan scope link" {
		t.Errorf("the other's route is now %s", got)
	}
}

func TestConfigureWithoutV6(t *testing.T) {
	var out bytes.Buffer
	h := New(slog.New(slog.NewTextHandler(&out, nil)))
	newMesh(t, "meshtest0")
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/meshtest0/disable_ipv6", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := h.Configure("meshtest0", sample); err != nil {
			t.Fatal(err)
		}
	}
	if got := addrs(t, "meshtest0"); got != "mtu 1400 inet 100.96.0.7/32" {
		t.Errorf("got %s", got)
	}
	if n := strings.Count(out.String(), "ipv6 is off"); n != 1 {
		t.Errorf("told %d times, want once: %s", n, out.String())
	}
}

// watch runs Watch for the length of the test.
func watch(t *testing.T, h Host) <-chan Event {
	t.Helper()
	events := make(chan Event, 100)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- h.Watch(ctx, func(e Event) { events <- e }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("watch: %v", err)
		}
	})
	return events
}

// ready adds addresses until the first event comes: then the watch runs.
func ready(t *testing.T, events <-chan Event) {
	t.Helper()
	nstest.Veth(t, "lan")
	tick := time.NewTicker(2 * settle)
	defer tick.Stop()
	for n := 1; ; n++ {
		nstest.IP(t, fmt.Sprintf("addr add 192.168.1.%d/24 dev lan", n))
		select {
		case <-events:
			return
		case <-tick.C:
		}
		if n > 50 {
			t.Fatal("no event")
		}
	}
}

func next(t *testing.T, events <-chan Event) Event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(patience):
		t.Fatal("no event")
	}
	return Event{}
}

func TestWatch(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("story", func(t *testing.T) {
		h := New(nil)
		events := watch(t, h)
		ready(t, events)

		t.Log("a burst is one event")
		for n := 200; n < 210; n++ {
			nstest.IP(t, fmt.Sprintf("addr add 192.168.1.%d/24 dev lan", n))
		}
		nstest.IP(t, "route add default via 192.168.1.254")
		nstest.IP(t, "route del default")
		if e := next(t, events); e.Reason != "address 192.168.1.200/24 is new" || e.Interface != "" {
			t.Errorf("got %+v", e)
		}

		t.Log("tunnels, containers and routes to somewhere are no events; the default route is")
		newMesh(t, "meshtest0")
		if err := h.Configure("meshtest0", sample); err != nil {
			t.Fatal(err)
		}
		nstest.Veth(t, "docker0")
		nstest.IP(t, "addr add 172.17.0.1/16 dev docker0")
		nstest.IP(t, "route add 10.77.0.0/16 via 192.168.1.254")
		time.AfterFunc(3*settle, func() { exec.Command("ip", "route", "add", "default", "via", "192.168.1.254").Run() })
		if e := next(t, events); !strings.HasPrefix(e.Reason, "route 0.0.0.0/0 via [192.168.1.254] ") || e.Interface != "" {
			t.Errorf("got %+v", e)
		}

		t.Log("a cable that is pulled")
		nstest.IP(t, "link set lanp down")
		if e := next(t, events); !strings.HasSuffix(e.Reason, " is gone") || e.Interface != "" {
			t.Errorf("got %+v", e)
		}
	})
}

func TestWatchDrift(t *testing.T) {
	h := New(nil)
	newMesh(t, "meshtest0")
	if err := h.Configure("meshtest0", sample); err != nil {
		t.Fatal(err)
	}
	events := watch(t, h)
	ready(t, events)
	for _, change := range []string{"route del 100.96.0.0/16 dev meshtest0", "addr del fd96::7/128 dev meshtest0", "addr add 10.3.3.3/32 dev meshtest0"} {
		nstest.IP(t, change)
		if e := next(t, events); e.Interface != "meshtest0" {
			t.Errorf("%s: %+v", change, e)
		}
		if err := h.Configure("meshtest0", sample); err != nil {
			t.Fatal(err)
		}
		if got := addrs(t, "meshtest0"); got != "mtu 1400 inet 100.96.0.7/32 inet6 fd96::7/128" {
			t.Errorf("%s: not mended: %s", change, got)
		}
	}
}

// When the subscription breaks, the next one finds what was missed.
func TestWatchResubscribes(t *testing.T) {
	w := &watcher{host: New(nil).(*host), dirty: make(chan struct{}, 1)}
	events := make(chan Event, 10)
	w.changed = func(e Event) { events <- e }
	var err error
	if w.sub, err = subscribe(w.dirty); err != nil {
		t.Fatal(err)
	}
	w.sub.sock.Close()
	nstest.Veth(t, "lan")
	nstest.IP(t, "addr add 192.168.1.7/24 dev lan")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.run(ctx) }()
	if e := next(t, events); e.Reason != "address 192.168.1.7/24 is new" {
		t.Errorf("got %+v", e)
	}
	nstest.IP(t, "addr add 192.168.1.8/24 dev lan")
	if e := next(t, events); e.Reason != "address 192.168.1.8/24 is new" {
		t.Errorf("got %+v", e)
	}
	cancel()
	<-done
	w.sub.close()
}

// await fails the test unless wrong returns "" in time.
func await(t *testing.T, wrong func() string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		problem := wrong()
		if problem == "" {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(problem)
		}
	}
}

func TestToPrefix(t *testing.T) {
	for _, p := range prefixes("0.0.0.0/0", "10.0.0.7/24", "::/0", "fd00::7/48", "255.255.255.255/32") {
		if got, ok := toPrefix(toIPNet(p)); !ok || got != p {
			t.Errorf("%v became %v (%v)", p, got, ok)
		}
	}
	if p, ok := toPrefix(nil); ok {
		t.Errorf("nothing became %v", p)
	}
}
