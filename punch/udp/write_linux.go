package udp

import (
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// Write sends every buf as a datagram to one destination, in bundles where that
// is possible. The route's refusal (ENETUNREACH, EHOSTUNREACH, EPERM …) is
// returned as soon as it is met; a datagram that is too long (EMSGSIZE) is
// returned as an error after the others were sent. It blocks only while the
// socket's send buffer is full. After Close it returns net.ErrClosed.
func (c *Conn) Write(bufs [][]byte, to netip.AddrPort) error {
	return c.WriteHeaded(nil, bufs, to)
}

// WriteHeaded is Write with head put before every buf. Nothing is copied.
func (c *Conn) WriteHeaded(head []byte, bufs [][]byte, to netip.AddrPort) error {
	to = unmap(to)
	w := writers.Get().(*writer)
	defer w.release()
	if err := w.open(c, to); err != nil {
		return err
	}
	var tooLong error
	for len(bufs) > 0 {
		w.plan(head, bufs, c.bundles(to.Addr()))
		sent, err := w.send(c)
		bufs = bufs[sent:]
		switch {
		case err == nil:
		case w.failedBundle() && c.refuse(to.Addr(), err):
		case err == unix.EMSGSIZE:
			tooLong = sendError(to, err)
			bufs = bufs[1:]
		case err == net.ErrClosed:
			return err
		default:
			return sendError(to, err)
		}
	}
	return tooLong
}

// WriteTTL sends one datagram that dies after ttl hops; 0 means the host's
// default, 255 is the largest. Other datagrams of the socket are not touched.
func (c *Conn) WriteTTL(b []byte, to netip.AddrPort, ttl int) error {
	if ttl == 0 {
		return c.Write([][]byte{b}, to)
	}
	to = unmap(to)
	w := writers.Get().(*writer)
	defer w.release()
	if err := w.open(c, to); err != nil {
		return err
	}
	w.plan(nil, [][]byte{b}, false)
	w.setTTL(ttl, to.Addr().Is4())
	if _, err := w.send(c); err == net.ErrClosed {
		return err
	} else if err != nil {
		return sendError(to, err)
	}
	return nil
}

// writer is what one Write needs to talk to the kernel.
type writer struct {
	to       sockaddr
	toLen    uint32
	msgs     [batchSize]mmsghdr
	controls [batchSize]controlBuf
	counts   [batchSize]int // datagrams in each message
	iovs     [2 * batchSize]unix.Iovec

	planned int // messages planned
	done    int // of them, messages sent
	used    int // iovecs used
	errno   unix.Errno

	call  mmsgFunc
	try   func(fd uintptr) // these two are built once, so that no Write allocates
	retry func(fd uintptr) bool
}

var writers = sync.Pool{New: func() any {
	w := new(writer)
	w.try = func(fd uintptr) { w.trySend(fd) }
	w.retry = w.trySend
	return w
}}

// release returns w to the pool, holding on to nobody's buffers.
func (w *writer) release() {
	w.reset()
	w.call = nil
	writers.Put(w)
}

func (w *writer) reset() {
	clear(w.iovs[:w.used])
	w.planned, w.done, w.used = 0, 0, 0
}

func (w *writer) open(c *Conn, to netip.AddrPort) error {
	if !to.IsValid() || to.Addr().Is4() != c.is4 {
		return sendError(to, unix.EAFNOSUPPORT)
	}
	var err error
	w.call = c.sendmmsg
	if w.toLen, err = w.to.put(to); err != nil {
		return sendError(to, err)
	}
	return nil
}

// plan lays out messages for as many of bufs as fit.
func (w *writer) plan(head []byte, bufs [][]byte, bundles bool) {
	w.reset()
	bufs = bufs[:min(len(bufs), batchSize)]
	for len(bufs) > 0 {
		n := 1
		if bundles {
			n = bundle(bufs, len(head))
		}
		w.add(head, bufs[:n])
		bufs = bufs[n:]
	}
}

// add lays out one message.
func (w *writer) add(head []byte, bufs [][]byte) {
	m, first := &w.msgs[w.planned], w.used
	for _, b := range bufs {
		if len(head) > 0 {
			setIovec(&w.iovs[w.used], head)
			w.used++
		}
		if w.used > first && follows(&w.iovs[w.used-1], b) {
			w.iovs[w.used-1].SetLen(int(w.iovs[w.used-1].Len) + len(b))
			continue
		}
		setIovec(&w.iovs[w.used], b)
		w.used++
	}
	m.Name, m.Namelen = (*byte)(w.to.pointer()), w.toLen
	m.Iov = &w.iovs[first]
	m.SetIovlen(w.used - first)
	m.Control = nil
	m.SetControllen(0)
	if len(bufs) > 1 { // a lone datagram with UDP_SEGMENT is lost on some paths
		c := &w.controls[w.planned]
		m.Control = (*byte)(c.pointer())
		m.SetControllen(put(c, unix.SOL_UDP, unix.UDP_SEGMENT, uint16(len(head)+len(bufs[0]))))
	}
	w.counts[w.planned] = len(bufs)
	w.planned++
}

// setTTL gives the first message a time to live.
func (w *writer) setTTL(ttl int, is4 bool) {
	level, kind := int32(unix.IPPROTO_IPV6), int32(unix.IPV6_HOPLIMIT)
	if is4 {
		level, kind = unix.IPPROTO_IP, unix.IP_TTL
	}
	m, c := &w.msgs[0], &w.controls[0]
	m.Control = (*byte)(c.pointer())
	m.SetControllen(put(c, level, kind, int32(ttl)))
}

// send hands what is planned to the kernel and returns how many datagrams it
// took. An error belongs to the message after them.
func (w *writer) send(c *Conn) (sent int, err error) {
	for w.done < w.planned {
		before := w.done
		// The first attempt takes no lock, so that writers don't queue behind one
		// another. Only waiting does.
		err := c.raw.Control(w.try)
		if err == nil && w.errno == unix.EAGAIN {
			err = c.raw.Write(w.retry)
		}
		for _, n := range w.counts[before:w.done] {
			sent += n
		}
		if err != nil {
			return sent, net.ErrClosed
		}
		if w.errno != 0 {
			return sent, w.errno
		}
	}
	return sent, nil
}

// trySend makes one call; false means that it has to wait.
func (w *writer) trySend(fd uintptr) bool {
	for {
		n, errno := w.call(fd, w.msgs[w.done:w.planned])
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

// failedBundle reports whether the message that failed is a bundle.
func (w *writer) failedBundle() bool {
	return w.done < w.planned && w.counts[w.done] > 1
}
