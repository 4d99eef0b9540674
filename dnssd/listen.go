package dnssd

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/netutil"
)

const (
	maxConns     = 256
	writeTimeout = 5 * time.Second
)

// Listen binds UDP and TCP to the same address. Port 0 takes one that is free
// for both.
func Listen(ctx context.Context, addr netip.AddrPort) (net.PacketConn, net.Listener, error) {
	var lc net.ListenConfig
	for try := 0; ; try++ {
		listener, err := lc.Listen(ctx, "tcp", addr.String())
		if err != nil {
			return nil, nil, fmt.Errorf("listen for DNS on %s: %w", addr, err)
		}
		bound := listener.Addr().(*net.TCPAddr).AddrPort()
		conn, err := lc.ListenPacket(ctx, "udp", bound.String())
		if err == nil {
			return conn, listener, nil
		}
		listener.Close() // nothing came of it
		if addr.Port() != 0 || try == 8 {
			return nil, nil, fmt.Errorf("listen for DNS on %s: %w", addr, err)
		}
	}
}

// guard bounds what strangers can hold by TCP: connections, and writers that
// wait for a reader that never reads.
func guard(l net.Listener) net.Listener {
	return deadlineListener{netutil.LimitListener(l, maxConns)}
}

type deadlineListener struct{ net.Listener }

func (l deadlineListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return deadlineConn{c}, nil
}

type deadlineConn struct{ net.Conn }

func (c deadlineConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
