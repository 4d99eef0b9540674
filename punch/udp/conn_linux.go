package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// batchSize is how many datagrams one Read or Write handles at best: two bundles.
const batchSize = 128

// Conn is one UDP socket, IPv4 or IPv6. It is safe for concurrent use; Reads take
// turns.
type Conn struct {
	conn  *net.UDPConn
	raw   syscall.RawConn
	local netip.AddrPort
	is4   bool

	reader   reader
	sendmmsg mmsgFunc // the system call; tests put faults in its place
	gso      bool
	refused  refusals
}

// Listen opens and binds a socket. Its error names the address. Offloads that
// the kernel lacks are done without.
func Listen(config Config) (*Conn, error) {
	config, err := config.normal()
	if err != nil {
		return nil, err
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return control(raw, func(fd int) error { return setOptions(fd, config) })
	}}
	pc, err := lc.ListenPacket(context.Background(), config.network(), config.Addr.String())
	if err != nil {
		return nil, err
	}
	conn := pc.(*net.UDPConn)
	raw, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("listen on %v: %v", config.Addr, err)
	}
	c := &Conn{
		conn: conn, raw: raw, local: unmap(conn.LocalAddr().(*net.UDPAddr).AddrPort()),
		is4: config.Addr.Addr().Is4(), sendmmsg: sendmmsg,
	}
	c.reader.raw, c.reader.call, c.reader.try = raw, recvmmsg, c.reader.tryReceive
	if !config.NoOffload {
		control(raw, func(fd int) error {
			c.gso = supportsGSO(fd)
			c.reader.gro = enableGRO(fd)
			return nil
		})
	}
	return c, nil
}

// LocalAddr returns the address that the socket is bound to.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// BatchSize returns how many datagrams a Read or Write should offer.
func (c *Conn) BatchSize() int { return batchSize }

// Close closes the socket. Reads and writes under way end with net.ErrClosed.
// Closing again does nothing.
func (c *Conn) Close() error {
	if err := c.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// control runs f on the descriptor.
func control(raw syscall.RawConn, f func(fd int) error) error {
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// setOptions sets what has to be set before the socket is bound.
func setOptions(fd int, config Config) error {
	setBuffer(fd, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, config.RecvBuffer)
	setBuffer(fd, unix.SO_SNDBUF, unix.SO_SNDBUFFORCE, config.SendBuffer)
	if err := setMark(fd, config.Mark); err != nil {
		return err
	}
	if config.Whole {
		if err := setWhole(fd, config.Addr.Addr().Is4()); err != nil {
			return fmt.Errorf("forbid fragments: %w", err)
		}
	}
	if config.ReusePort {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return fmt.Errorf("share port: %w", err)
		}
	}
	return nil
}

func setMark(fd int, mark uint32) error {
	if mark == 0 {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
		return fmt.Errorf("set mark %#x: %w", mark, err)
	}
	return nil
}

// Mark gives a socket of any kind the mark of [Config.Mark].
func Mark(raw syscall.RawConn, mark uint32) error {
	return control(raw, func(fd int) error { return setMark(fd, mark) })
}

// setWhole forbids fragments and has the path MTU that the kernel believes in
// ignored.
func setWhole(fd int, is4 bool) error {
	if is4 {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
}

// setBuffer asks for size bytes: beyond the system's limit if we may
// (CAP_NET_ADMIN), else as far as it goes. A small buffer is slower, not wrong.
func setBuffer(fd, option, force, size int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, size)
	}
}

// supportsGSO reports whether the kernel knows UDP_SEGMENT (Linux 4.18).
func supportsGSO(fd int) bool {
	_, err := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT)
	return err == nil
}

// enableGRO asks for bundles on receive (Linux 5.0).
func enableGRO(fd int) bool {
	return unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) == nil
}
