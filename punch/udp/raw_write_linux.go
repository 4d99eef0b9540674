package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Write sends every buf as a datagram to one destination. Its errors are those of
// [Conn.Write].
func (c *RawConn) Write(bufs [][]byte, to netip.AddrPort) error {
	return c.write(nil, bufs, to, 0)
}

// WriteHeaded is Write with head put before every buf. Nothing is copied.
func (c *RawConn) WriteHeaded(head []byte, bufs [][]byte, to netip.AddrPort) error {
	return c.write(head, bufs, to, 0)
}

// WriteTTL sends one datagram that dies after ttl hops; 0 means the host's
// default, 255 is the largest.
func (c *RawConn) WriteTTL(b []byte, to netip.AddrPort, ttl int) error {
	return c.write(nil, [][]byte{b}, to, ttl)
}

// write has a second try for when the host lost the address that it sent from.
func (c *RawConn) write(head []byte, bufs [][]byte, to netip.AddrPort, ttl int) error {
	to = unmap(to)
	if !to.IsValid() || to.Addr().Is4() != c.is4 {
		return sendError(to, unix.EAFNOSUPPORT)
	}
	w := rawWriters.Get().(*rawWriter)
	defer w.release()
	w.c, w.head, w.ttl = c, head, ttl
	var tooLong error
	for again := c.is4; len(bufs) > 0; {
		if err := w.open(to); err != nil {
			return sendError(to, err)
		}
		sent, err := w.send(bufs)
		bufs = bufs[sent:]
		switch {
		case err == nil:
		case err == net.ErrClosed:
			return err
		case err == unix.EMSGSIZE:
			tooLong = sendError(to, err)
			bufs = bufs[1:]
		case again:
			again = false
			c.sources.forget(to.Addr())
		default:
			return sendError(to, err)
		}
	}
	return tooLong
}

// rawControl has room for two control messages: the source and the TTL.
type rawControl [8]uint64

// rawWriter is what one write needs to talk to the kernel.
type rawWriter struct {
	c      *RawConn
	head   []byte
	ttl    int
	to     sockaddr
	toLen  uint32
	port   uint16
	pseudo uint64 // sum of the addresses, IPv4 only

	control    rawControl
	controlLen int
	msgs       [rawBatch]mmsghdr
	iovs       [3 * rawBatch]unix.Iovec
	headers    [rawBatch][udpHeader]byte

	planned, done int
	errno         unix.Errno
	try           func(fd uintptr) // these two are built once, so that no write allocates
	retry         func(fd uintptr) bool
}

var rawWriters = sync.Pool{New: func() any {
	w := new(rawWriter)
	w.try = func(fd uintptr) { w.trySend(fd) }
	w.retry = w.trySend
	return w
}}

// release returns w to the pool, holding on to nobody's buffers.
func (w *rawWriter) release() {
	clear(w.iovs[:])
	w.c, w.head = nil, nil
	rawWriters.Put(w)
}

// open prepares for a destination. The kernel is told to send from the source
// that the checksum is computed over.
func (w *rawWriter) open(to netip.AddrPort) error {
	var err error
	w.port = to.Port()
	w.toLen, err = w.to.put(netip.AddrPortFrom(to.Addr(), 0)) // IPv6 takes the port for a protocol
	if err != nil {
		return err
	}
	w.controlLen = 0
	if to.Addr().Is4() {
		source, err := w.c.sources.to(to)
		if err != nil {
			return err
		}
		src, dst := source.As4(), to.Addr().As4()
		w.pseudo = sum(sum(unix.IPPROTO_UDP, src[:]), dst[:])
		addControl(w, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.Inet4Pktinfo{Spec_dst: src})
		if w.ttl != 0 {
			addControl(w, unix.IPPROTO_IP, unix.IP_TTL, int32(w.ttl))
		}
	} else if w.ttl != 0 {
		addControl(w, unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, int32(w.ttl))
	}
	return nil
}

// addControl adds a control message to those of all that is sent.
func addControl[T int32 | unix.Inet4Pktinfo](w *rawWriter, level, kind int32, value T) {
	at, size := unsafe.Add(unsafe.Pointer(&w.control), w.controlLen), int(unsafe.Sizeof(value))
	h := (*unix.Cmsghdr)(at)
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(size))
	*(*T)(unsafe.Add(at, unix.CmsgLen(0))) = value
	w.controlLen += unix.CmsgSpace(size)
}

// plan lays out a message for each of bufs, as many as fit.
func (w *rawWriter) plan(bufs [][]byte) {
	w.planned, w.done = min(len(bufs), rawBatch), 0
	for i, b := range bufs[:w.planned] {
		m, iovs, n := &w.msgs[i], w.iovs[3*i:3*i+3], 1
		w.header(i, b)
		setIovec(&iovs[0], w.headers[i][:])
		if len(w.head) > 0 {
			setIovec(&iovs[n], w.head)
			n++
		}
		setIovec(&iovs[n], b)
		m.Name, m.Namelen = (*byte)(w.to.pointer()), w.toLen
		m.Iov = &iovs[0]
		m.SetIovlen(n + 1)
		m.Control = nil
		if w.controlLen > 0 {
			m.Control = (*byte)(unsafe.Pointer(&w.control))
		}
		m.SetControllen(w.controlLen)
	}
}

// header writes the UDP header of datagram i (RFC 768).
func (w *rawWriter) header(i int, b []byte) {
	h, size := &w.headers[i], udpHeader+len(w.head)+len(b)
	binary.BigEndian.PutUint16(h[0:], w.c.local.Port())
	binary.BigEndian.PutUint16(h[2:], w.port)
	binary.BigEndian.PutUint16(h[4:], uint16(size))
	binary.BigEndian.PutUint16(h[6:], 0)
	if w.c.is4 {
		s := sum(w.pseudo+uint64(size), h[:])
		binary.BigEndian.PutUint16(h[6:], checksum(sumTail(s, w.head, b)))
	}
}

// send hands bufs to the kernel and returns how many it took. An error belongs to
// the one after them.
func (w *rawWriter) send(bufs [][]byte) (int, error) {
	w.plan(bufs)
	for w.done < w.planned {
		err := w.c.raw.Control(w.try)
		if err == nil && w.errno == unix.EAGAIN {
			err = w.c.raw.Write(w.retry)
		}
		if err != nil {
			return w.done, net.ErrClosed
		}
		if w.errno != 0 {
			return w.done, w.errno
		}
	}
	return w.done, nil
}

// trySend makes one call; false means that it has to wait.
func (w *rawWriter) trySend(fd uintptr) bool {
	for {
		n, errno := w.c.sendmmsg(fd, w.msgs[w.done:w.planned])
		w.errno = errno
		switch errno {
		case 0:
			w.done += n
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			return true
		}
	}
}
