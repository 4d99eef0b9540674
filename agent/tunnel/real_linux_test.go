package tunnel

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"meshd/agent/netcfg/nstest"
)

// open makes a tunnel on a TUN of the kernel's, over a.wire.
func (s *side) open(t *testing.T, name string) {
	t.Helper()
	tn, err := New(Config{Interface: name, PrivateKey: s.private, Transport: s.wire, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tn.Close() })
	s.userspace = tn.(*userspace)
}

// ask sends a question from the kernel of a, whose address is on the TUN, and
// returns when its packet has come out at b's channel.
func (s *side) ask(t *testing.T, to *side) {
	t.Helper()
	c, err := net.Dial("udp4", netip.AddrPortFrom(to.addr, 9).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := []byte(fmt.Sprint("from ", c.LocalAddr()))
	await(t, "packet through the TUN", func() bool {
		if _, err := c.Write(want); err != nil {
			return false
		}
		select {
		case got := <-to.tun.Inbound:
			return bytes.HasSuffix(got, want)
		default:
			return false
		}
	})
}

// newMixed makes a real TUN on one end and a channel on the other.
func newMixed(t *testing.T) (a, b *side) {
	t.Helper()
	a, b = newSide(1), newSide(2)
	a.wire, b.wire = newTwins(a.key, b.key)
	b.start(t)
	a.open(t, "meshtest0")
	a.setPeers(t, b.asPeer())
	b.setPeers(t, a.asPeer())
	nstest.IP(t, "addr add 100.96.0.1/24 dev meshtest0")
	nstest.IP(t, "link set meshtest0 up")
	return a, b
}

func TestRealTUN(t *testing.T) {
	a, b := newMixed(t)
	a.ask(t, b)
	if link, err := netlink.LinkByName("meshtest0"); err != nil || link.Attrs().MTU != DefaultMTU || a.Name() != "meshtest0" {
		t.Errorf("%s: %+v, %v", a.Name(), link, err)
	}
}

func TestLinkDownAndUp(t *testing.T) {
	a, b := newMixed(t)
	a.ask(t, b)
	begun := a.wire.initiations() + b.wire.initiations()
	nstest.IP(t, "link set meshtest0 down")
	nstest.IP(t, "link set meshtest0 up")
	nstest.IP(t, "link set meshtest0 mtu 1300")
	a.ask(t, b)
	select {
	case <-a.wire.closed:
		t.Error("the transport was closed")
	case <-a.Wait():
		t.Error("the device has ended")
	default:
	}
	if n := a.wire.initiations() + b.wire.initiations(); n != begun {
		t.Errorf("%d handshakes more, want the session to survive", n-begun)
	}
}

func TestInterfaceDeleted(t *testing.T) {
	defer goleak.VerifyNone(t)
	a, b := newMixed(t)
	a.ask(t, b)
	nstest.IP(t, "link del meshtest0")
	<-a.Wait()
	<-a.wire.closed
	for _, s := range []*side{a, b} {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

func TestCloseRemovesInterface(t *testing.T) {
	defer goleak.VerifyNone(t)
	a, b := newMixed(t)
	a.ask(t, b)
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Error(err)
	}
	if _, err := netlink.LinkByName("meshtest0"); err == nil {
		t.Error("the interface is still there")
	}
}

func TestNamesAreNotStolen(t *testing.T) {
	a, _ := newMixed(t)
	nstest.Veth(t, "meshtest1")
	nstest.IP(t, "tuntap add meshtest2 mode tun") // persistent, nobody attached: the kernel would hand it over
	t.Cleanup(func() { exec.Command("ip", "link", "del", "meshtest2").Run() })
	for name, want := range map[string]string{
		"meshtest0": `interface "meshtest0" exists already (a TUN device of another program) and is not ours to take`,
		"meshtest1": `interface "meshtest1" exists already (type veth) and is not ours to take`,
		"meshtest2": `interface "meshtest2" exists already (a TUN device of another program) and is not ours to take`,
	} {
		_, err := New(Config{Interface: name, PrivateKey: a.private, Transport: newTwin(a.key)})
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Message != want || !strings.Contains(e.Hint, "--interface") {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	for _, test := range []struct {
		err  error
		hint string
	}{
		{openError(unix.ENOENT), "load the module with `modprobe tun`"},
		{openError(unix.ENODEV), "load the module with `modprobe tun`"},
		{openError(unix.EACCES), "run meshd as root"},
		{createError("meshd0", unix.EPERM), "run meshd as root"},
		{createError("meshd0", unix.ENOMEM), ""},
	} {
		e, ok := errors.AsType[*Error](test.err)
		if !ok || !strings.HasPrefix(e.Hint, test.hint) || (test.hint == "") != (e.Hint == "") {
			t.Errorf("%v: hint %q, want %q", test.err, e.Hint, test.hint)
		}
	}
	if err := openError(unix.EACCES); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%v does not wrap its cause", err)
	}
}

// wg runs the real tool.
func wg(args ...string) (string, error) {
	out, err := exec.Command("wg", args...).CombinedOutput()
	return string(out), err
}

func TestWgShow(t *testing.T) {
	a, b := newMixed(t)
	a.ask(t, b)
	out, err := wg("show", "meshtest0")
	if err != nil {
		t.Fatalf("wg show: %v: %s", err, out)
	}
	for _, want := range []string{
		"interface: meshtest0", "public key: " + inBase64(a.key), "peer: " + inBase64(b.key), "allowed ips: 100.96.0.2/32",
		"endpoint: [100::", "latest handshake: ", "transfer: ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("wg show lacks %q:\n%s", want, out)
		}
	}
	if out, err := wg("show", "interfaces"); err != nil || !strings.Contains(out, "meshtest0") {
		t.Errorf("wg show interfaces: %q, %v", out, err)
	}
}

func TestWgSetIsRefused(t *testing.T) {
	a, b := newMixed(t)
	out, err := wg("set", "meshtest0", "listen-port", "1234", "peer", inBase64(b.key), "remove")
	if err == nil || !strings.Contains(out, "Operation not permitted") {
		t.Errorf("wg set: %v: %s", err, out)
	}
	a.ask(t, b)
}

// A socket left behind by a process that was killed is no obstacle.
func TestStaleSocket(t *testing.T) {
	l, err := listenUAPI("meshtest0")
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if _, err := listenUAPI("meshtest0"); err == nil {
		t.Error("a socket in use was taken over")
	}
	l.Close()
	newMixed(t)
	if out, err := wg("show", "meshtest0"); err != nil {
		t.Errorf("wg show: %v: %s", err, out)
	}
}
