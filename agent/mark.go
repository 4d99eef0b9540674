package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
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
	d := markedDialer(l.fwmark.Load())
	d.Timeout = dialTimeout
	return d.DialContext(ctx, network, addr)
}

// lookupHub resolves the hub's name with the mark that holds now, unless a hook does.
func (l *loop) lookupHub(ctx context.Context, host string) ([]netip.Addr, error) {
	if l.cfg.Lookup != nil {
		return l.cfg.Lookup(ctx, host)
	}
	return markedResolver(l.fwmark.Load()).LookupNetIP(ctx, "ip", host)
}

// markedDialer also has names looked up with the mark.
func markedDialer(mark uint32) *net.Dialer {
	if mark == 0 {
		return &net.Dialer{}
	}
	return &net.Dialer{
		Resolver: markedResolver(mark),
		Control:  func(_, _ string, raw syscall.RawConn) error { return udp.Mark(raw, mark) },
	}
}

// markedResolver asks the host's own name servers. They may be where the default route
// goes, which is another tunnel: one that needs this mesh to carry it would wait for the
// hub's name, and the mesh for the tunnel.
func markedResolver(mark uint32) *net.Resolver {
	if mark == 0 {
		return net.DefaultResolver
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, server string) (net.Conn, error) {
		return markedDialer(mark).DialContext(ctx, network, server)
	}}
}
