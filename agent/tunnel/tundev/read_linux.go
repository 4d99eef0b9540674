package tundev

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"meshd/agent/tunnel/vnet"
)

// Sizes of the read buffer: a few superpackets, or many small packets one after
// another. More would only be more memory to fall out of the cache.
const (
	maxFrame  = vnet.HeaderLen + 65535
	arenaSize = 4 << 16
	align     = 64 // a cache line
)

// reader drains the descriptor into an arena.
type reader struct {
	arena []byte
	used  int
	into  [][]byte
	n     int
	errno unix.Errno
	try   func(fd uintptr) bool // drain, bound once
}

func (r *reader) init() {
	r.arena = unbacked(arenaSize + align)
	r.try = r.drain
}

// ReadFrames waits until the kernel has a packet, and takes what it has without
// waiting, up to len(frames). Each frame is a virtio header and a packet (see
// [vnet.Segments]) in a buffer of the device's; they are the caller's to write to
// until the next call. It lets other goroutines run first, and after many small
// packets other programs. After Close, or when the interface is gone: os.ErrClosed.
func (d *Device) ReadFrames(frames [][]byte) (int, error) {
	r := &d.reader
	if r.n >= crowd {
		yield()
	}
	runtime.Gosched()
	r.into, r.n, r.used, r.errno = frames, 0, 0, 0
	if err := d.raw.Read(r.try); err != nil {
		return 0, os.ErrClosed
	}
	if r.n > 0 {
		return r.n, nil // an error comes again
	}
	return 0, systemError("read", r.errno)
}

// drain reads until the kernel has nothing more. It returns false to be called
// again when the kernel has something.
func (r *reader) drain(fd uintptr) bool {
	for r.n < len(r.into) && len(r.arena)-r.used >= maxFrame {
		b := r.arena[r.used:]
		n, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&b[0])), maxFrame)
		switch errno {
		case 0:
			r.into[r.n] = b[:n:n]
			r.n++
			r.used += (int(n) + align - 1) &^ (align - 1)
		case unix.EINTR:
		case unix.EAGAIN:
			return r.n > 0
		default:
			r.errno = errno
			return true
		}
	}
	return true
}

// systemError is errno in words. Of a descriptor whose interface was deleted the
// kernel says EBADFD.
func systemError(call string, errno unix.Errno) error {
	if errno == unix.EBADFD {
		return os.ErrClosed
	}
	return os.NewSyscallError(call, errno)
}

// stockReader keeps what did not fit a Read for the next.
type stockReader struct {
	segments vnet.Segments
	frames   [batchSize][]byte
	n, next  int // frames read, and the one that comes after segments
}

// Read implements [tun.Device]: it copies packets to bufs, as many as there are
// without waiting.
func (d *Device) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	for {
		if n := d.takeRead(bufs, sizes, offset); n > 0 {
			return n, nil
		}
		n, err := d.ReadFrames(d.stock.frames[:])
		if err != nil {
			return 0, err
		}
		d.stock.n, d.stock.next = n, 0
	}
}

// takeRead copies what has been read already.
func (d *Device) takeRead(bufs [][]byte, sizes []int, offset int) (n int) {
	s := &d.stock
	for n < len(bufs) {
		p, ok := s.segments.Next()
		switch {
		case ok && len(p) <= len(bufs[n])-offset:
			sizes[n] = copy(bufs[n][offset:], p)
			n++
		case ok:
			d.counted.tooLong.Add(1)
		case s.next == s.n:
			return n
		default:
			if err := s.segments.Reset(s.frames[s.next]); err != nil {
				d.counted.malformed.Add(1)
			}
			s.next++
		}
	}
	return n
}
