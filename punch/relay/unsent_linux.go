package relay

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxUnsent is how many bytes the kernel may hold that it hasn't sent yet. More
// would wait there as in the longest queue, past all priorities.
const maxUnsent = maxMessage

// boundUnsent sets TCP_NOTSENT_LOWAT on the connection under conn. Where that
// can't be, latency under load is worse and nothing else.
func boundUnsent(conn net.Conn) {
	for {
		inner, ok := conn.(interface{ NetConn() net.Conn }) // tls.Conn
		if !ok {
			break
		}
		conn = inner.NetConn()
	}
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := sc.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent)
		})
	}
}
