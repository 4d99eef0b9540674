package inkernel

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"meshd/punch/relay/inkernel"
	"meshd/punch/udp"
)

const patience = 20 * time.Second

// host is a network namespace: one thread, which does what it is told. Sockets that
// it opens stay in the namespace.
type host struct {
	tasks chan func()
	netns int // a descriptor of the namespace
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{tasks: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			h.netns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		ready <- err
		for task := range h.tasks {
			task()
		}
	}()
	must(t, <-ready)
	t.Cleanup(func() {
		close(h.tasks)
		unix.Close(h.netns)
	})
	h.do(t, func() error { return up("lo") })
	return h
}

// do runs f inside.
func (h *host) do(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error)
	h.tasks <- func() { done <- f() }
	must(t, <-done)
}

// join makes a veth pair between h and other, with an address of each family at each
// end.
func (h *host) join(t *testing.T, other *host, name, otherName string, own, far [2]string) {
	t.Helper()
	h.do(t, func() error {
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, TxQLen: -1}, PeerName: otherName, PeerNamespace: netlink.NsFd(other.netns)}
		if err := netlink.LinkAdd(pair); err != nil {
			return err
		}
		return address(name, own)
	})
	other.do(t, func() error { return address(otherName, far) })
}

func address(name string, addrs [2]string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, s := range addrs {
		a, err := netlink.ParseAddr(s)
		if err != nil {
			return err
		}
		a.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, a); err != nil {
			return err
		}
	}
	return up(name)
}

func up(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// sumHere has the namespace itself sum what leaves by an interface, and cut bundles,
// which a veth pair otherwise leaves to whoever receives, and he to nobody.
func (h *host) sumHere(t *testing.T, name string) {
	t.Helper()
	h.do(t, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		value := struct{ command, data uint32 }{unix.ETHTOOL_STXCSUM, 0}
		var request struct {
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}
		copy(request.name[:], name)
		request.data = unsafe.Pointer(&value)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
			return errno
		}
		return nil
	})
}

// end is a socket, and what comes to it.
type end struct {
	*udp.Conn
	got chan datagram
}

type datagram struct {
	from netip.AddrPort
	data []byte
}

func (h *host) listen(t *testing.T, addr string) *end {
	t.Helper()
	e := &end{got: make(chan datagram, 4096)}
	h.do(t, func() (err error) {
		e.Conn, err = udp.Listen(udp.Config{Addr: netip.MustParseAddrPort(addr)})
		return err
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		packets, from := make([][]byte, 128), make([]netip.AddrPort, 128)
		for {
			n, err := e.Lend(packets, from)
			if err != nil {
				return
			}
			for i := range n {
				e.got <- datagram{from[i], bytes.Clone(packets[i])}
			}
		}
	}()
	t.Cleanup(func() {
		e.Close()
		<-done
	})
	return e
}

// stage is the three hosts: the sender and the receiver have addresses that end in 1,
// the relay those that end in 2.
type stage struct {
	t                       *testing.T
	sender, relay, receiver *host
	table                   *inkernel.Table
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, sender: newHost(t), relay: newHost(t), receiver: newHost(t)}
	s.relay.join(t, s.sender, "in", "out", [2]string{"192.0.2.2/24", "2001:db8:a::2/64"}, [2]string{"192.0.2.1/24", "2001:db8:a::1/64"})
	s.relay.join(t, s.receiver, "out", "in", [2]string{"198.51.100.2/24", "2001:db8:b::2/64"}, [2]string{"198.51.100.1/24", "2001:db8:b::1/64"})
	s.relay.do(t, func() (err error) { s.table, err = inkernel.New(); return err })
	t.Cleanup(func() { s.relay.do(t, func() error { s.table.Close(); return nil }) })
	return s
}

// trio is a socket on each host, in one family, and what the relay has to know.
type trio struct {
	*stage
	from, at, to *end
	flow         inkernel.Flow
	exit         inkernel.Exit
}

// head is what datagrams of the flow begin with.
var head = [8]byte{0xd2, 1, 0, 7, 0, 0, 0, 3}

func (s *stage) trio(six bool) *trio {
	s.t.Helper()
	addrs := []string{"192.0.2.1:1111", "192.0.2.2:3478", "198.51.100.2:3478", "198.51.100.1:2222"}
	if six {
		addrs = []string{"[2001:db8:a::1]:1111", "[2001:db8:a::2]:3478", "[2001:db8:b::2]:3478", "[2001:db8:b::1]:2222"}
	}
	r := &trio{stage: s, from: s.sender.listen(s.t, addrs[0]), at: s.relay.listen(s.t, addrs[1]), to: s.receiver.listen(s.t, addrs[3])}
	r.flow = inkernel.Flow{From: netip.MustParseAddrPort(addrs[0]), At: netip.MustParseAddrPort(addrs[1]), Head: head}
	r.exit = inkernel.Exit{From: netip.MustParseAddrPort(addrs[2]), To: netip.MustParseAddrPort(addrs[3])}
	return r
}

func (r *trio) install() {
	r.t.Helper()
	r.relay.do(r.t, func() error {
		in, err := inkernel.PathTo(r.flow.From.Addr(), netip.Addr{})
		if err != nil {
			return err
		}
		out, err := inkernel.PathTo(r.exit.To.Addr(), r.exit.From.Addr())
		if err != nil {
			return err
		}
		if in.Source != r.flow.At.Addr() || out.Source != r.exit.From.Addr() {
			return fmt.Errorf("paths %+v and %+v", in, out)
		}
		return r.table.Install(r.flow, in, r.exit, out)
	})
}

func (r *trio) count() (n inkernel.Count) {
	r.relay.do(r.t, func() error { n = r.table.Count(r.flow); return nil })
	return n
}

// bundle is n datagrams of a size with a header, and one that is shorter.
func bundle(head [8]byte, n, size int) (bufs [][]byte) {
	for i := range n {
		b := append(head[:len(head):len(head)], bytes.Repeat([]byte{byte(i)}, size-8)...)
		if i == n-1 {
			b = b[:size/2]
		}
		bufs = append(bufs, b)
	}
	return bufs
}

// send sends datagrams and waits until all have come, to the receiver or to the
// relay's user space.
func (r *trio) send(bufs [][]byte) (there, here []datagram) {
	r.t.Helper()
	must(r.t, r.from.Write(bufs, r.flow.At))
	limit := time.After(patience)
	for len(there)+len(here) < len(bufs) {
		select {
		case d := <-r.to.got:
			there = append(there, d)
		case d := <-r.at.got:
			here = append(here, d)
		case <-limit:
			r.t.Fatalf("%d datagrams came to the receiver and %d to the relay, want %d in all", len(there), len(here), len(bufs))
		}
	}
	return there, here
}

// forwards sends datagrams until they come to the receiver and none is taken as a
// sample, and checks what came.
func (r *trio) forwards(bufs [][]byte) {
	r.t.Helper()
	for range 10 {
		there, here := r.send(bufs)
		if len(here) > 0 {
			continue
		}
		for i, d := range there {
			if !bytes.Equal(d.data, bufs[i]) || d.from != r.exit.From {
				r.t.Fatalf("datagram %d came from %v with %d bytes, want %d from %v", i, d.from, len(d.data), len(bufs[i]), r.exit.From)
			}
		}
		return
	}
	r.t.Fatal("user space gets them again and again")
}

// keeps sends datagrams, all of which have to come to the relay's user space.
func (r *trio) keeps(bufs [][]byte) {
	r.t.Helper()
	if there, _ := r.send(bufs); len(there) > 0 {
		r.t.Errorf("%d of %d datagrams came to the receiver, want none", len(there), len(bufs))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
