package udp

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// slabs are the bundles received at once. With more of them, the first fall
	// out of the processor's cache before they are read.
	slabs = 8
	// slabSize holds any datagram or bundle.
	slabSize = 1 << 16
	// yieldEvery is after how many reads that did not wait the others get a turn:
	// raw system calls keep the processor, and under load nobody else would have
	// it. A turn costs as much as a read.
	yieldEvery = 32
)

// reader is the receiving half of a Conn. With GRO it receives into slabs of
// its own and copies the datagrams out, over several Reads if need be; without,
// it receives into the caller's buffers.
type reader struct {
	raw  syscall.RawConn
	call mmsgFunc
	try  func(fd uintptr) bool // built once, so that no Read allocates
	gro  bool

	mu       sync.Mutex // held by the one Read under way; guards everything below
	msgs     []mmsghdr
	iovs     []unix.Iovec
	sources  []sockaddr
	controls []controlBuf
	slab     []byte // slabs × slabSize

	want  int // messages asked for
	got   int // messages received
	errno unix.Errno
	busy  int // reads in a row that did not wait

	// Slabs: what is left of the messages received is msgs[next:got], the first of
	// them from offset on, in datagrams of size.
	next, offset, size int

	source sockaddr // the one translated last, and into what
	from   netip.AddrPort
}

// Read waits for datagrams and fills bufs with as many as there are; sizes and
// from must be as long as bufs. A datagram longer than its buffer has size 0.
// IPv4 sources come unmapped, link-local ones with their zone. That something
// sent before did not arrive is no error of Read. After Close it returns
// net.ErrClosed.
func (c *Conn) Read(bufs [][]byte, sizes []int, from []netip.AddrPort) (int, error) {
	r := &c.reader
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case len(bufs) == 0:
		return 0, nil
	case r.gro:
		return r.readBundles(bufs, sizes, from)
	}
	return r.readSingles(bufs, sizes, from)
}

func (r *reader) readSingles(bufs [][]byte, sizes []int, from []netip.AddrPort) (int, error) {
	want := min(len(bufs), batchSize)
	r.grow(want)
	for i, b := range bufs[:want] {
		r.prepare(i, b)
	}
	if err := r.receive(want); err != nil {
		return 0, err
	}
	for i := range r.got {
		m := &r.msgs[i]
		sizes[i], from[i] = int(m.n), r.address(i)
		if m.Flags&unix.MSG_TRUNC != 0 {
			sizes[i] = 0
		}
	}
	r.next = r.got // all handed out
	return r.got, nil
}

func (r *reader) readBundles(bufs [][]byte, sizes []int, from []netip.AddrPort) (int, error) {
	if r.next == r.got {
		if err := r.fill(slabs); err != nil {
			return 0, err
		}
	}
	n := 0
	for n < len(bufs) && r.next < r.got {
		segment := r.segment()
		sizes[n], from[n] = len(segment), r.address(r.next)
		if copy(bufs[n], segment) < len(segment) {
			sizes[n] = 0
		}
		r.pass(len(segment))
		n++
	}
	return n, nil
}

// fill waits for messages, up to n, and has the kernel put them into the slabs.
func (r *reader) fill(n int) error {
	r.grow(n)
	if r.slab == nil {
		r.slab = unbacked(slabs * slabSize)
	}
	for i := range n {
		r.prepare(i, r.slab[i*slabSize:(i+1)*slabSize])
	}
	if err := r.receive(n); err != nil {
		return err
	}
	r.next, r.offset, r.size = 0, 0, 0
	return nil
}

// unbacked is a buffer that takes memory only where it was written to. A new one of
// the heap's may have been cleared all over, and small datagrams touch little of it.
func unbacked(size int) []byte {
	b := make([]byte, size)
	page := os.Getpagesize()
	start := -int(uintptr(unsafe.Pointer(&b[0]))) & (page - 1)
	if start+page <= size {
		// It only saves memory.
		_ = unix.Madvise(b[start:start+(size-start)&^(page-1)], unix.MADV_DONTNEED)
	}
	return b
}

// segment is the next datagram in the slabs: it ends where its message does, at
// the latest.
func (r *reader) segment() []byte {
	m := &r.msgs[r.next]
	length := int(m.n)
	if r.offset == 0 {
		r.size = segmentSize(&r.controls[r.next], int(m.Controllen))
		if r.size <= 0 || r.size > length {
			r.size = length
		}
	}
	end := min(r.offset+r.size, length)
	return r.slab[r.next*slabSize:][r.offset:end:end]
}

// pass goes on after a datagram of n bytes.
func (r *reader) pass(n int) {
	if r.offset += n; r.offset == int(r.msgs[r.next].n) {
		r.next, r.offset = r.next+1, 0
	}
}

// grow makes room for n messages.
func (r *reader) grow(n int) {
	if n <= len(r.msgs) {
		return
	}
	r.msgs, r.iovs = make([]mmsghdr, n), make([]unix.Iovec, n)
	r.sources, r.controls = make([]sockaddr, n), make([]controlBuf, n)
}

// prepare makes message i receive into b.
func (r *reader) prepare(i int, b []byte) {
	iov, m := &r.iovs[i], &r.msgs[i]
	setIovec(iov, b)
	m.Name, m.Namelen = (*byte)(r.sources[i].pointer()), unix.SizeofSockaddrInet6
	m.Iov = iov
	m.SetIovlen(1)
	m.Control = nil
	m.SetControllen(0)
	if r.gro {
		m.Control = (*byte)(r.controls[i].pointer())
		m.SetControllen(controlSize)
	}
}

// receive waits for messages: r.got of them, one at least.
func (r *reader) receive(want int) error {
	r.want, r.got, r.next, r.busy = want, 0, 0, r.busy+1
	if err := r.raw.Read(r.try); err != nil {
		return net.ErrClosed
	}
	if r.errno != 0 {
		return fmt.Errorf("receive: %w", r.errno)
	}
	if r.busy == yieldEvery {
		r.busy = 0
		runtime.Gosched()
	}
	return nil
}

// tryReceive is called by the netpoller; false means wait.
func (r *reader) tryReceive(fd uintptr) bool {
	for {
		r.got, r.errno = r.call(fd, r.msgs[:r.want])
		switch {
		case r.errno == 0:
			return true
		case r.errno == unix.EAGAIN:
			r.got, r.busy = 0, 0
			return false
		case r.errno != unix.EINTR && !isICMP(r.errno):
			r.got = 0
			return true
		}
	}
}

// isICMP reports whether errno tells the fate of a datagram sent earlier. It is
// nothing to a reader, and reading it has cleared it.
func isICMP(errno unix.Errno) bool {
	switch errno {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN, unix.ENONET,
		unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.EPROTO, unix.EACCES, unix.EPERM, unix.EMSGSIZE:
		return true
	}
	return false
}

// address returns the source of message i. Neighbours mostly have the same.
func (r *reader) address(i int) netip.AddrPort {
	if s := &r.sources[i]; !s.same(&r.source) || !r.from.IsValid() {
		r.source, r.from = *s, s.get()
	}
	return r.from
}
