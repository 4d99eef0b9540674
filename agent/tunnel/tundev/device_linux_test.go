package tundev

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"

	"meshd/agent/netcfg/nstest"
	"meshd/agent/tunnel/vnet"
	"meshd/agent/tunnel/vnet/vnettest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

var everything = vnet.Offloads{TCP: true, UDP: true}

// open makes a device that is closed after the test, with its events read.
func open(t testing.TB, name string, o vnet.Offloads) *Device {
	t.Helper()
	return openWith(t, name, Config{MTU: 1400, Offloads: o})
}

func openWith(t testing.TB, name string, c Config) *Device {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), name)
	d, err := New(file, c)
	if err != nil {
		file.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// up gives the device addresses and brings it up.
func up(t testing.TB, name string, addrs ...string) {
	t.Helper()
	for _, a := range addrs {
		args := "addr add " + a + " dev " + name
		if netip.MustParsePrefix(a).Addr().Is6() {
			args += " nodad"
		}
		nstest.IP(t, args)
	}
	nstest.IP(t, "link set "+name+" up")
	for _, a := range addrs {
		awaitRoutes(t, name, netip.MustParsePrefix(a))
	}
}

// awaitRoutes waits until the kernel delivers what is sent to an address, and
// sends what is for its neighbours to the link: for IPv6 it sees to that later.
func awaitRoutes(t testing.TB, name string, a netip.Prefix) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for to, want := range map[netip.Addr]string{a.Addr(): "local ", a.Masked().Addr().Next(): " dev " + name + " "} {
		for {
			out, err := exec.Command("ip", "route", "get", to.String()).CombinedOutput()
			if err == nil && strings.Contains(string(out), want) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("route to %s: %v: %s", to, err, out)
			}
		}
	}
}

// within bounds what the test waits for from d.
func within(t testing.TB, d *Device) {
	t.Helper()
	if err := d.file.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
}

func TestNameAndMTU(t *testing.T) {
	d := open(t, "vnet0", everything)
	if name, err := d.Name(); name != "vnet0" || err != nil {
		t.Errorf("name %q, %v", name, err)
	}
	if mtu, err := d.MTU(); mtu != 1400 || err != nil {
		t.Errorf("mtu %d, %v", mtu, err)
	}
	nstest.IP(t, "link set vnet0 name vnet9 mtu 1300")
	if name, err := d.Name(); name != "vnet9" || err != nil {
		t.Errorf("renamed: name %q, %v", name, err)
	}
	if mtu, err := d.MTU(); mtu != 1300 || err != nil {
		t.Errorf("renamed: mtu %d, %v", mtu, err)
	}
}

func TestEvents(t *testing.T) {
	defer goleak.VerifyNone(t)
	d := open(t, "vnet0", everything)
	ended := make(chan struct{})
	go func() { defer close(ended); d.Watch() }()
	expect := func(want tun.Event) {
		t.Helper()
		deadline := time.After(30 * time.Second)
		for {
			select {
			case e := <-d.Events():
				if e&want == want {
					return
				}
			case <-deadline:
				t.Fatalf("no event %b", want)
			}
		}
	}
	nstest.IP(t, "link set vnet0 up")
	expect(tun.EventUp)
	nstest.IP(t, "link set vnet0 mtu 1350")
	expect(tun.EventMTUUpdate)
	nstest.IP(t, "link set vnet0 down")
	expect(tun.EventDown)
	nstest.IP(t, "link set vnet0 up") // nobody may be reading when it is closed
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	<-ended
	for range d.Events() {
	}
	if err := d.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

// reading reads until there is an error.
func reading(d *Device) <-chan error {
	result := make(chan error, 1)
	go func() {
		frames := make([][]byte, 8)
		for {
			if _, err := d.ReadFrames(frames); err != nil {
				result <- err
				return
			}
		}
	}()
	return result
}

func TestEndOfReads(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, d *Device){
		"closed":  func(t *testing.T, d *Device) { d.Close() },
		"deleted": func(t *testing.T, d *Device) { nstest.IP(t, "link del vnet0") },
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, "vnet0", everything)
			up(t, "vnet0", "100.96.0.254/24")
			within(t, d)
			ended := reading(d)
			end(t, d)
			if err := <-ended; !errors.Is(err, os.ErrClosed) {
				t.Errorf("read: %v", err)
			}
			if _, err := d.Write([][]byte{make([]byte, 40)}, 0); !errors.Is(err, os.ErrClosed) {
				t.Errorf("write: %v", err)
			}
		})
	}
}

func TestWriteWhileDown(t *testing.T) {
	d := open(t, "vnet0", everything)
	p := vnettest.Packet{From: from4, To: to4, Payload: payload(10)}.Bytes()
	if n, err := d.Write([][]byte{p}, 0); n != 0 || !errors.Is(err, unix.EIO) {
		t.Errorf("%d, %v, want EIO", n, err)
	}
}

// A superpacket that the kernel refuses is told from other errors, and counted.
func TestRefused(t *testing.T) {
	d := open(t, "vnet0", everything)
	up(t, "vnet0")
	w := newWriter(d)
	super := vnettest.Packet{From: from4, To: to4, UDP: true, Payload: payload(100)}.Super(50, false)
	super[8] = 3 // there is no checksum there
	if err := w.writeFrame([][]byte{super}); !errors.Is(err, vnet.ErrRefused) {
		t.Errorf("superpacket: %v, want %v", err, vnet.ErrRefused)
	}
	if err := w.writeFrame([][]byte{make([]byte, vnet.HeaderLen+40)}); !errors.Is(err, unix.EINVAL) || errors.Is(err, vnet.ErrRefused) {
		t.Errorf("no IP packet: %v, want EINVAL", err)
	}
	if c := d.Counters(); c != (Counters{Refused: 1}) {
		t.Errorf("counters %+v, want one refused", c)
	}
}

// Read carries over to the next call what did not fit.
func TestReadCarriesOver(t *testing.T) {
	in, out := forwarding(t, everything)
	super := vnettest.Packet{From: from4, To: to4, DF: true, Payload: payload(1000)}
	if err := newWriter(in).writeFrame([][]byte{super.Super(100, false)}); err != nil {
		t.Fatal(err)
	}
	bufs, sizes := [][]byte{make([]byte, 200), make([]byte, 200), make([]byte, 200)}, make([]int, 3)
	var carried []byte
	take := func(until int) {
		t.Helper()
		for len(carried) < until {
			n, err := out.Read(bufs, sizes, 16)
			if err != nil {
				t.Fatalf("after %d bytes: %v", len(carried), err)
			}
			for i := range n {
				if p := bufs[i][16 : 16+sizes[i]]; relevant(p) {
					carried = append(carried, p[40:]...)
				}
			}
		}
	}
	take(1000)
	if !bytes.Equal(carried, super.Payload) {
		t.Error("the payload changed")
	}
	// What does not fit at all is dropped and counted; what comes after it is not.
	w := newWriter(in)
	if err := w.writeFrame([][]byte{super.Super(400, false)}); err != nil {
		t.Fatal(err)
	}
	super.Payload = payload(10)
	if err := w.writeFrame([][]byte{make([]byte, vnet.HeaderLen), super.Bytes()}); err != nil {
		t.Fatal(err)
	}
	take(1010)
	if c := out.Counters(); c.TooLong < 3 || !bytes.Equal(carried[1000:], super.Payload) {
		t.Errorf("counters %+v, then %x", c, carried[1000:])
	}
}
