package udp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is the kernel's struct mmsghdr: a message and how many of its bytes
// were moved.
type mmsghdr struct {
	unix.Msghdr
	n uint32
}

// controlBuf holds one control message with a number of up to 4 bytes in it,
// aligned as the kernel wants it.
type controlBuf [3]uint64

const controlSize = int(unsafe.Sizeof(controlBuf{}))

func (c *controlBuf) pointer() unsafe.Pointer { return unsafe.Pointer(c) }

func setIovec(iov *unix.Iovec, b []byte) {
	iov.Base = unsafe.SliceData(b)
	iov.SetLen(len(b))
}

// follows reports whether b begins where iov ends: then one may cover both. Packets
// sealed one after the other into one buffer, and those of a bundle that was lent,
// lie side by side, which spares the kernel most iovecs.
func follows(iov *unix.Iovec, b []byte) bool {
	// As numbers: a pointer past the end of its allocation is none.
	end := uintptr(unsafe.Pointer(iov.Base)) + uintptr(iov.Len)
	return iov.Len > 0 && len(b) > 0 && end == uintptr(unsafe.Pointer(unsafe.SliceData(b)))
}

// mmsgFunc is sendmmsg or recvmmsg: it handles msgs in order and returns how
// many it got through. An error belongs to the first one.
type mmsgFunc func(fd uintptr, msgs []mmsghdr) (int, unix.Errno)

// The calls are raw: on a non-blocking descriptor they come back by themselves,
// and telling the scheduler about them costs more than they do.

func sendmmsg(fd uintptr, msgs []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

func recvmmsg(fd uintptr, msgs []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// put writes a control message with a number as data and returns its length.
func put[T uint16 | int32](c *controlBuf, level, kind int32, value T) int {
	size := int(unsafe.Sizeof(value))
	h := (*unix.Cmsghdr)(c.pointer())
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(size))
	*(*T)(unsafe.Add(c.pointer(), unix.CmsgLen(0))) = value
	return unix.CmsgSpace(size)
}

// segmentSize returns the size of the datagrams in a received bundle, 0 if it
// is none: UDP_GRO is the only control message we ask for.
func segmentSize(c *controlBuf, length int) int {
	h := (*unix.Cmsghdr)(c.pointer())
	if length < unix.CmsgLen(4) || h.Level != unix.SOL_UDP || h.Type != unix.UDP_GRO {
		return 0
	}
	return int(*(*int32)(unsafe.Add(c.pointer(), unix.CmsgLen(0))))
}
