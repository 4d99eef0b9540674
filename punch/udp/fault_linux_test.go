package udp

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// kernel stands in for sendmmsg: it answers each message by its number of
// datagrams and remembers what it took.
type kernel struct {
	answer func(datagrams, size int) unix.Errno
	took   []int // datagrams in each message taken
	calls  int
}

func (k *kernel) sendmmsg(_ uintptr, msgs []mmsghdr) (int, unix.Errno) {
	k.calls++
	for i := range msgs {
		datagrams := int(msgs[i].Iovlen)
		if errno := k.answer(datagrams, int(msgs[i].Iov.Len)); errno != 0 {
			if i > 0 {
				return i, 0
			}
			return -1, errno
		}
		k.took = append(k.took, datagrams)
	}
	return len(msgs), 0
}

// faulty returns a connection whose kernel answers as given.
func faulty(t *testing.T, answer func(datagrams, size int) unix.Errno) (*Conn, *kernel) {
	t.Helper()
	c, k := listen(t, Config{Addr: loopback4}), &kernel{answer: answer}
	c.sendmmsg = k.sendmmsg
	return c, k
}

func TestBundlesRefused(t *testing.T) {
	to, elsewhere := netip.MustParseAddrPort("192.0.2.1:9"), netip.MustParseAddrPort("192.0.2.2:9")
	for _, row := range []struct {
		name  string
		errno unix.Errno
	}{
		{"EIO: no checksum offload on the route", unix.EIO},
		{"EMSGSIZE: datagrams above its MTU", unix.EMSGSIZE},
		{"EINVAL: the same of older kernels", unix.EINVAL},
	} {
		t.Run(row.name, func(t *testing.T) {
			refusing := true
			c, k := faulty(t, func(datagrams, _ int) unix.Errno {
				if refusing && datagrams > 1 {
					return row.errno
				}
				return 0
			})
			write := func(to netip.AddrPort, want ...int) {
				t.Helper()
				k.took = nil
				if err := c.Write(packets(100, 100, 100), to); err != nil {
					t.Error(err)
				}
				if !slices.Equal(k.took, want) {
					t.Errorf("got messages of %v datagrams, want %v", k.took, want)
				}
			}
			write(to, 1, 1, 1)
			calls := k.calls
			write(to, 1, 1, 1)
			if got := k.calls - calls; got != 1 {
				t.Errorf("second write: got %d calls, want 1", got)
			}
			refusing = false
			write(to, 1, 1, 1)
			write(elsewhere, 3)
			write(netip.AddrPortFrom(to.Addr(), 10), 1, 1, 1) // a route has no ports
		})
	}
}

func TestBundleRefusedInTheMiddle(t *testing.T) {
	c, k := faulty(t, func(datagrams, size int) unix.Errno {
		if datagrams > 1 && size > 1000 {
			return unix.EMSGSIZE
		}
		return 0
	})
	sizes := []int{100, 100, 1200, 1200, 1200, 50, 50}
	if err := c.Write(packets(sizes...), netip.MustParseAddrPort("192.0.2.1:9")); err != nil {
		t.Error(err)
	}
	if want := []int{2, 1, 1, 1, 1, 1}; !slices.Equal(k.took, want) {
		t.Errorf("got messages of %v datagrams, want %v", k.took, want)
	}
}

func TestRefusalsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r refusals
		a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
		r.add(a, time.Now())
		time.Sleep(refusedFor - time.Second)
		r.add(b, time.Now())
		if !r.has(a) || !r.has(b) {
			t.Error("forgotten too early")
		}
		time.Sleep(time.Second)
		if r.has(a) || !r.has(b) {
			t.Errorf("got %v, %v, want the older one forgotten", r.has(a), r.has(b))
		}
		for range 2 * maxRefused {
			a = a.Next()
			r.add(a, time.Now())
		}
		if got := len(*r.until.Load()); got > maxRefused {
			t.Errorf("got %d destinations remembered, want at most %d", got, maxRefused)
		}
	})
}

func TestRouteErrors(t *testing.T) {
	to := netip.MustParseAddrPort("192.0.2.1:9")
	for _, errno := range []unix.Errno{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EPERM, unix.ENOBUFS} {
		c, k := faulty(t, func(int, int) unix.Errno { return errno })
		err := c.Write(packets(100, 100, 50, 100), to)
		if !errors.Is(err, errno) || !bytes.Contains([]byte(err.Error()), []byte(to.String())) {
			t.Errorf("got %v, want %v with the address", err, errno)
		}
		if k.calls != 1 || !c.bundles(to.Addr()) {
			t.Errorf("%v: got %d calls, want 1 and no change of mind about bundles", errno, k.calls)
		}
		if err := c.WriteTTL([]byte{1}, to, 3); !errors.Is(err, errno) {
			t.Errorf("with TTL: got %v, want %v", err, errno)
		}
	}
}

func TestTooLong(t *testing.T) {
	t.Log("a datagram that no path takes is reported, and does not stop the others")
	c, k := faulty(t, func(_, size int) unix.Errno {
		if size > 1000 {
			return unix.EMSGSIZE
		}
		return 0
	})
	err := c.Write(packets(100, 1200, 50), netip.MustParseAddrPort("192.0.2.1:9"))
	if !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("got %v, want %v", err, unix.EMSGSIZE)
	}
	if want := []int{1, 1}; !slices.Equal(k.took, want) {
		t.Errorf("got messages of %v datagrams, want %v", k.took, want)
	}
}

func TestInterruptedAndFull(t *testing.T) {
	faults := []unix.Errno{unix.EINTR, unix.EAGAIN, 0, unix.EAGAIN, unix.EINTR, 0}
	c, k := faulty(t, func(int, int) unix.Errno {
		if len(faults) == 0 {
			return 0
		}
		errno := faults[0]
		faults = faults[1:]
		return errno
	})
	if err := c.Write(packets(10, 20, 30), netip.MustParseAddrPort("192.0.2.1:9")); err != nil {
		t.Error(err)
	}
	if want := []int{1, 1, 1}; !slices.Equal(k.took, want) {
		t.Errorf("got messages of %v datagrams, want %v", k.took, want)
	}
}

func TestReadFaults(t *testing.T) {
	a, b := listen(t, Config{Addr: loopback4}), listen(t, Config{Addr: loopback4})
	faults := []unix.Errno{unix.ECONNREFUSED, unix.EINTR, unix.EHOSTUNREACH, unix.EACCES}
	a.reader.call = func(fd uintptr, msgs []mmsghdr) (int, unix.Errno) {
		if len(faults) > 0 {
			errno := faults[0]
			faults = faults[1:]
			return -1, errno
		}
		return recvmmsg(fd, msgs)
	}
	if err := b.Write(packets(20), a.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	check(t, receive(t, a, 1, 4), b.LocalAddr(), nil, packets(20))

	faults = []unix.Errno{unix.ENOTSOCK}
	n, err := a.Read([][]byte{make([]byte, 9)}, make([]int, 1), make([]netip.AddrPort, 1))
	if n != 0 || !errors.Is(err, unix.ENOTSOCK) {
		t.Errorf("got %d, %v, want %v", n, err, unix.ENOTSOCK)
	}
	if err := b.Write(packets(20), a.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	check(t, receive(t, a, 1, 4), b.LocalAddr(), nil, packets(20))
}
