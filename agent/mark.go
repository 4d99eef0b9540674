package agent

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"

	"meshd/punch/udp"
)

// putMark takes what `wg set ... fwmark` takes.
func putMark(s *state, value string) error {
	if value == wordOff {
		value = "0"
	}
	n, err := strconv.ParseUint(value, 0, 32)
	if err != nil {
		return fmt.Errorf("fwmark %q is no number of 32 bits", value)
	}
	s.FWMark = wordOff
	if n != 0 {
		s.FWMark = fmt.Sprintf("%#x", n)
	}
	return nil
}

// mark is what sockets are given; 0: none.
func (s *state) mark() uint32 {
	n, err := strconv.ParseUint(s.FWMark, 0, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// dialTimeout is for one attempt to connect to the hub.
const dialTimeout = 5 * time.Second

// dialHub makes TCP connections with the mark that holds now.
func (l *loop) dialHub(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	if mark := l.fwmark.Load(); mark != 0 {
		d.Control = func(_, _ string, raw syscall.RawConn) error { return udp.Mark(raw, mark) }
	}
	return d.DialContext(ctx, network, addr)
}
