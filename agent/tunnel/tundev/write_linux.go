package tundev

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"meshd/agent/tunnel/vnet"
)

// writer hands frames to the kernel.
type writer struct {
	d     *Device
	iov   []unix.Iovec
	errno unix.Errno
	try   func(fd uintptr) bool // write, bound once
}

// NewWriter returns a coalescer that writes to the device: one for each
// goroutine that writes. Its errors are os.ErrClosed after Close and when the
// interface is gone, EIO while it is down.
func (d *Device) NewWriter() *vnet.Coalescer {
	c := vnet.NewCoalescer(newWriter(d).writeFrame, d.offloads)
	c.SplitUDP(&d.split)
	return c
}

func newWriter(d *Device) *writer {
	w := &writer{d: d}
	w.try = w.write
	return w
}

func (w *writer) writeFrame(frame [][]byte) error {
	w.iov = w.iov[:0]
	for _, part := range frame {
		if len(part) == 0 {
			continue
		}
		v := unix.Iovec{Base: &part[0]}
		v.SetLen(len(part))
		w.iov = append(w.iov, v)
	}
	err := w.d.raw.Write(w.try)
	switch {
	case err != nil:
		return os.ErrClosed
	case w.errno == 0:
		if len(frame) > crowd && vnet.IsUDP(frame[0]) {
			yield() // to who is to read them before more come
		}
		return nil
	case w.errno == unix.EINVAL && vnet.IsSuper(frame[0]):
		w.d.refuse(frame[0])
		return fmt.Errorf("write superpacket: %w", vnet.ErrRefused)
	}
	return systemError("write", w.errno)
}

// write returns false to be called again when the kernel takes more.
func (w *writer) write(fd uintptr) bool {
	for {
		_, _, w.errno = unix.RawSyscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&w.iov[0])), uintptr(len(w.iov)))
		if w.errno != unix.EINTR {
			return w.errno != unix.EAGAIN
		}
	}
}

// refuse counts, and says it once for each protocol.
func (d *Device) refuse(header []byte) {
	d.counted.refused.Add(1)
	proto, once := "tcp", &d.warned[0]
	if vnet.IsUDP(header) {
		proto, once = "udp", &d.warned[1]
	}
	once.Do(func() {
		name, _ := d.Name()
		d.log.Warn("the kernel takes no superpackets, packets go one by one", "iface", name, "proto", proto)
	})
}

// Write implements [tun.Device]. It is safe for concurrent use.
func (d *Device) Write(bufs [][]byte, offset int) (int, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	var first error
	for _, b := range bufs {
		if err := d.writer.Add(b[offset:]); err != nil && first == nil {
			first = err
		}
	}
	if err := d.writer.Flush(); err != nil && first == nil {
		first = err
	}
	if first != nil {
		return 0, first
	}
	return len(bufs), nil
}
