package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// RawConn moves datagrams of a UDP port that somebody else is bound to: the
// kernel's WireGuard. It hears what is not WireGuard's (see rawFilter), and sends
// what looks as if it came from that port. It is safe for concurrent use; Reads
// take turns.
//
//	port of the kernel's WireGuard
//	   │ WireGuard's packets ─────────► the kernel (which drops the others)
//	   └ probes, STUN, relay messages ─► raw socket ── filter ──► Read
//
// Packets reach it behind the host's firewall, as they would the port itself.
type RawConn struct {
	conn  *net.IPConn
	raw   syscall.RawConn
	local netip.AddrPort
	is4   bool

	reader   rawReader
	sendmmsg mmsgFunc
	sources  sources
}

// ListenRaw opens a raw socket for a port of one family, and of all addresses. It
// needs CAP_NET_RAW. The port must be free (EADDRINUSE else), so that WireGuard
// can have it; 0 means one that is free. ReusePort and the offloads have no
// meaning here.
func ListenRaw(config Config) (*RawConn, error) {
	config, err := config.normal()
	if err != nil {
		return nil, err
	}
	if !config.Addr.Addr().IsUnspecified() {
		return nil, fmt.Errorf("listen raw on %v: not an unspecified address", config.Addr)
	}
	local, err := freePort(config)
	if err != nil {
		return nil, err
	}
	is4 := local.Addr().Is4()
	network := "ip6:17"
	if is4 {
		network = "ip4:17"
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return control(raw, func(fd int) error { return setRawOptions(fd, local.Port(), is4, config) })
	}}
	pc, err := lc.ListenPacket(context.Background(), network, local.Addr().String())
	if err != nil {
		return nil, fmt.Errorf("listen raw on %v: %w", local, err)
	}
	conn := pc.(*net.IPConn)
	raw, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("listen raw on %v: %v", local, err)
	}
	c := &RawConn{conn: conn, raw: raw, local: local, is4: is4, sendmmsg: sendmmsg}
	c.sources.mark = config.Mark
	c.reader.raw, c.reader.port, c.reader.is4 = raw, local.Port(), is4
	c.reader.try = c.reader.tryReceive
	return c, nil
}

// freePort makes sure that nobody is bound to the port, by being it for a moment.
func freePort(config Config) (netip.AddrPort, error) {
	conn, err := net.ListenUDP(config.network(), net.UDPAddrFromAddrPort(config.Addr))
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer conn.Close()
	return unmap(conn.LocalAddr().(*net.UDPAddr).AddrPort()), nil
}

func setRawOptions(fd int, port uint16, is4 bool, config Config) error {
	if err := attachFilter(fd, rawFilter(port, is4)); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	if !is4 {
		// The kernel, which chooses the source, also computes the checksum over it:
		// at byte 6 of what is sent. And it checks that of what is received.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_CHECKSUM, 6); err != nil {
			return fmt.Errorf("have checksums computed: %w", err)
		}
	}
	config.ReusePort = false
	return setOptions(fd, config)
}

// LocalAddr returns the address of the port.
func (c *RawConn) LocalAddr() netip.AddrPort { return c.local }

// BatchSize returns how many datagrams a Read or Write should offer.
func (c *RawConn) BatchSize() int { return rawBatch }

// Close closes the socket. Reads and writes under way end with net.ErrClosed.
// Closing again does nothing.
func (c *RawConn) Close() error {
	if err := c.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// rawBatch is how many datagrams one Read or Write handles at best.
const rawBatch = 64

// rawHeader holds what comes before the content of a datagram: the header of IPv4,
// without options, and that of UDP.
const (
	ip4Header = 20
	udpHeader = 8
)

// rawReader is the receiving half of a RawConn.
type rawReader struct {
	raw  syscall.RawConn
	port uint16
	is4  bool
	try  func(fd uintptr) bool // built once, so that no Read allocates

	mu      sync.Mutex // held by the one Read under way; guards everything below
	msgs    [rawBatch]mmsghdr
	iovs    [2 * rawBatch]unix.Iovec
	sources [rawBatch]sockaddr
	heads   [rawBatch][ip4Header + udpHeader]byte
	want    int
	got     int
	errno   unix.Errno
}

// Read is as [Conn.Read].
func (c *RawConn) Read(bufs [][]byte, sizes []int, from []netip.AddrPort) (int, error) {
	r := &c.reader
	r.mu.Lock()
	defer r.mu.Unlock()
	r.want = min(len(bufs), rawBatch)
	if r.want == 0 {
		return 0, nil
	}
	for i, b := range bufs[:r.want] {
		r.prepare(i, b)
	}
	if err := r.raw.Read(r.try); err != nil {
		return 0, net.ErrClosed
	}
	if r.errno != 0 {
		return 0, fmt.Errorf("receive: %w", r.errno)
	}
	for i := range r.got {
		sizes[i], from[i] = r.take(i, bufs[i])
	}
	return r.got, nil
}

func (r *rawReader) prepare(i int, b []byte) {
	m, iovs := &r.msgs[i], r.iovs[2*i:2*i+2]
	setIovec(&iovs[0], r.heads[i][:r.headSize()])
	setIovec(&iovs[1], b)
	m.Name, m.Namelen = (*byte)(r.sources[i].pointer()), unix.SizeofSockaddrInet6
	m.Iov = &iovs[0]
	m.SetIovlen(2)
	m.Control = nil
	m.SetControllen(0)
}

// headSize is how much comes before the content: IPv6's header is not shown.
func (r *rawReader) headSize() int {
	if r.is4 {
		return ip4Header + udpHeader
	}
	return udpHeader
}

// take returns the size of datagram i, whose content is in b, and its source. The
// size is 0 of what is not for the port, as may come before the filter is there.
func (r *rawReader) take(i int, b []byte) (int, netip.AddrPort) {
	m, head := &r.msgs[i], r.heads[i][:r.headSize()]
	size := int(m.n) - len(head)
	if size <= 0 || m.Flags&unix.MSG_TRUNC != 0 {
		return 0, netip.AddrPort{}
	}
	if r.is4 {
		if options := int(head[0]&15)*4 - ip4Header; options > 0 {
			return r.takeOptions(i, b[:size], options)
		}
		head = head[ip4Header:]
	}
	return r.content(i, head, size)
}

// takeOptions is take for a datagram whose IP header is longer than was thought.
func (r *rawReader) takeOptions(i int, b []byte, options int) (int, netip.AddrPort) {
	if len(b) < options {
		return 0, netip.AddrPort{}
	}
	var head [udpHeader]byte
	all := append(append(make([]byte, 0, udpHeader+options), r.heads[i][ip4Header:]...), b[:options]...)
	copy(head[:], all[options:])
	return r.content(i, head[:], copy(b, b[options:]))
}

func (r *rawReader) content(i int, head []byte, size int) (int, netip.AddrPort) {
	if be16(head[2:]) != r.port {
		return 0, netip.AddrPort{}
	}
	source := r.sources[i].get()
	return min(size, max(0, int(be16(head[4:]))-udpHeader)), netip.AddrPortFrom(source.Addr(), be16(head))
}

func be16(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }

// tryReceive is called by the netpoller; false means wait.
func (r *rawReader) tryReceive(fd uintptr) bool {
	for {
		r.got, r.errno = recvmmsg(fd, r.msgs[:r.want])
		switch {
		case r.errno == 0:
			return true
		case r.errno == unix.EAGAIN:
			r.got = 0
			return false
		case r.errno != unix.EINTR && !isICMP(r.errno):
			r.got = 0
			return true
		}
	}
}
