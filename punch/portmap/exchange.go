package portmap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

// firstResend is the first interval of sending again; it doubles. RFC 6886 §3.1
// has it so; RFC 6887 §8.1.1 waits three seconds, too long for a LAN.
const firstResend = 250 * time.Millisecond

// exchange sends a request to the gateway, again and again, until take is content
// with an answer, take returns a *refusal, or ctx ends. Only datagrams of the
// gateway are seen, because the socket is connected; if the gateway has nothing
// on that port, its ICMP error ends the wait.
func exchange(ctx context.Context, g Gateway, port uint16, request []byte, take func([]byte) error) error {
	conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(g.Local, 0)),
		net.UDPAddrFromAddrPort(netip.AddrPortFrom(g.Addr, port)))
	if err != nil {
		return fmt.Errorf("reach the gateway: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	reason := errors.New("no answer")
	for wait := firstResend; ; wait *= 2 {
		if _, err := conn.Write(request); err != nil {
			return ended(ctx, reason, err)
		}
		conn.SetReadDeadline(time.Now().Add(wait))
		switch err := receive(conn, take, &reason); {
		case err == nil:
			return nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return ended(ctx, reason, err)
		}
	}
}

// receive reads until take is content. What take said last goes to reason.
func receive(conn *net.UDPConn, take func([]byte) error, reason *error) error {
	buf := make([]byte, pcpMaxSize+1)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		err = take(buf[:n])
		if _, told := errors.AsType[*refusal](err); told || err == nil {
			return err
		}
		*reason = err
	}
}

// ended is why there was no answer: when time was up, what came instead of one.
func ended(ctx context.Context, reason, err error) error {
	if ctx.Err() != nil {
		return reason
	}
	return err
}
