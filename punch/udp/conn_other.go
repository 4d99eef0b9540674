//go:build !linux

package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Conn is one UDP socket, IPv4 or IPv6. It is safe for concurrent use; Reads take
// turns.
type Conn struct {
	conn   *net.UDPConn
	local  netip.AddrPort
	setTTL func(int) error
	getTTL func() (int, error)
	ttl    sync.RWMutex // held for writing while the socket's TTL is not its own
	lent   []byte
}

// Mark is for Linux only.
func Mark(_ syscall.RawConn, mark uint32) error {
	if mark != 0 {
		return fmt.Errorf("set mark %#x: %w", mark, errors.ErrUnsupported)
	}
	return nil
}

// Listen opens and binds a socket. Its error names the address. Mark and
// ReusePort are for Linux only.
func Listen(config Config) (*Conn, error) {
	config, err := config.normal()
	if err != nil {
		return nil, err
	}
	if config.Mark != 0 || config.ReusePort {
		return nil, fmt.Errorf("listen on %v: mark and shared port: %w", config.Addr, errors.ErrUnsupported)
	}
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(context.Background(), config.network(), config.Addr.String())
	if err != nil {
		return nil, err
	}
	conn := pc.(*net.UDPConn)
	// The system may allow less. A small buffer is slower, not wrong.
	_ = conn.SetReadBuffer(config.RecvBuffer)
	_ = conn.SetWriteBuffer(config.SendBuffer)
	c := &Conn{conn: conn, local: unmap(conn.LocalAddr().(*net.UDPAddr).AddrPort())}
	if config.Addr.Addr().Is4() {
		p := ipv4.NewConn(conn)
		c.setTTL, c.getTTL = p.SetTTL, p.TTL
	} else {
		p := ipv6.NewConn(conn)
		c.setTTL, c.getTTL = p.SetHopLimit, p.HopLimit
	}
	return c, nil
}

// LocalAddr returns the address that the socket is bound to.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// BatchSize returns how many datagrams a Read or Write should offer.
func (c *Conn) BatchSize() int { return 1 }

// maxFaults is how many failed attempts in a row end a Read. Some are nothing to
// worry about: what became of a datagram sent earlier, or, on Windows, that one
// received was cut.
const maxFaults = 10

// Read waits for a datagram and puts it into bufs[0]; sizes and from must be as
// long as bufs. A datagram longer than its buffer is cut or dropped, as the
// system does. IPv4 sources come unmapped, link-local ones with their zone. That
// something sent before did not arrive is no error of Read. After Close it
// returns net.ErrClosed.
func (c *Conn) Read(bufs [][]byte, sizes []int, from []netip.AddrPort) (int, error) {
	if len(bufs) == 0 {
		return 0, nil
	}
	for faults := 1; ; faults++ {
		n, source, err := c.conn.ReadFromUDPAddrPort(bufs[0])
		switch {
		case err == nil:
			sizes[0], from[0] = n, unmap(source)
			return 1, nil
		case errors.Is(err, net.ErrClosed):
			return 0, net.ErrClosed
		case faults == maxFaults:
			return 0, fmt.Errorf("receive: %w", err)
		}
	}
}

// Lend is Read into a buffer of the Conn's: packets[0] is good until the next Lend,
// and the borrower may write over it. It is for one goroutine.
func (c *Conn) Lend(packets [][]byte, from []netip.AddrPort) (int, error) {
	if c.lent == nil {
		c.lent = make([]byte, 1<<16)
	}
	var size [1]int
	n, err := c.Read([][]byte{c.lent}, size[:], from)
	if n == 1 {
		packets[0] = c.lent[:size[0]]
	}
	return n, err
}

// Write sends every buf as a datagram to one destination and returns the first
// error it meets, after Close net.ErrClosed.
func (c *Conn) Write(bufs [][]byte, to netip.AddrPort) error {
	c.ttl.RLock()
	defer c.ttl.RUnlock()
	for _, b := range bufs {
		if err := c.write(b, to); err != nil {
			return err
		}
	}
	return nil
}

// WriteHeaded is Write with head put before every buf.
func (c *Conn) WriteHeaded(head []byte, bufs [][]byte, to netip.AddrPort) error {
	c.ttl.RLock()
	defer c.ttl.RUnlock()
	var b []byte
	for _, buf := range bufs {
		b = append(append(b[:0], head...), buf...)
		if err := c.write(b, to); err != nil {
			return err
		}
	}
	return nil
}

// WriteTTL sends one datagram that dies after ttl hops; 0 means the host's
// default, 255 is the largest. The socket's own TTL is changed for the time, so
// other writers wait.
func (c *Conn) WriteTTL(b []byte, to netip.AddrPort, ttl int) error {
	if ttl == 0 {
		return c.Write([][]byte{b}, to)
	}
	c.ttl.Lock()
	defer c.ttl.Unlock()
	usual, err := c.getTTL()
	if err != nil {
		return failure(to, err)
	}
	if err := c.setTTL(ttl); err != nil {
		return failure(to, err)
	}
	defer c.setTTL(usual)
	return c.write(b, to)
}

func (c *Conn) write(b []byte, to netip.AddrPort) error {
	if _, err := c.conn.WriteToUDPAddrPort(b, unmap(to)); err != nil {
		return failure(to, err)
	}
	return nil
}

// failure says why nothing was sent, without what package net says besides.
func failure(to netip.AddrPort, err error) error {
	if errors.Is(err, net.ErrClosed) {
		return net.ErrClosed
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err
	}
	return sendError(to, err)
}

// Close closes the socket. Reads and writes under way end with net.ErrClosed.
// Closing again does nothing.
func (c *Conn) Close() error {
	if err := c.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
