package dnssd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// tries are the waits for an answer by UDP, one a try.
var tries = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}

// Send sends a DNS message to a server and returns its answer: by UDP, and by
// TCP if the message is large or the answer was cut. It checks that the answer
// belongs to the message, not who wrote it: that is for [Signed.Check].
func Send(ctx context.Context, server netip.AddrPort, message []byte) ([]byte, error) {
	if len(message) <= maxUDP {
		answer, err := sendUDP(ctx, server, message)
		if err != nil || !isTruncated(answer) {
			return answer, err
		}
	}
	return sendTCP(ctx, server, message)
}

func isTruncated(message []byte) bool { return len(message) > 2 && message[2]&2 != 0 }

func sendUDP(ctx context.Context, server netip.AddrPort, message []byte) ([]byte, error) {
	err := errors.New("context ended")
	for _, wait := range tries {
		if ctx.Err() != nil {
			break
		}
		var answer []byte
		if answer, err = sendOnce(ctx, "udp", server, wait, func(c net.Conn) ([]byte, error) { return datagram(c, message) }); err == nil {
			return answer, nil
		}
	}
	return nil, fmt.Errorf("ask %s by UDP: %w", server, err)
}

func sendTCP(ctx context.Context, server netip.AddrPort, message []byte) ([]byte, error) {
	answer, err := sendOnce(ctx, "tcp", server, 5*time.Second, func(c net.Conn) ([]byte, error) {
		conn := dns.Conn{Conn: c}
		if _, err := conn.Write(message); err != nil {
			return nil, err
		}
		return conn.ReadMsgHeader(nil)
	})
	if err == nil && !answers(answer, message) {
		err = errors.New("not an answer to the question")
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s by TCP: %w", server, err)
	}
	return answer, nil
}

// sendOnce talks over a connection of its own, until wait is over or ctx ends.
func sendOnce(ctx context.Context, network string, server netip.AddrPort, wait time.Duration, talk func(net.Conn) ([]byte, error)) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close() // all is read
	defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })()
	return talk(c)
}

// datagram waits for the one that answers the message; others are passed over.
func datagram(c net.Conn, message []byte) ([]byte, error) {
	if _, err := c.Write(message); err != nil {
		return nil, err
	}
	buf := make([]byte, dns.MaxMsgSize)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		if answers(buf[:n], message) {
			return slices.Clone(buf[:n]), nil
		}
	}
}

// answers reports whether a is an answer with the id of q.
func answers(a, q []byte) bool {
	return len(a) >= 12 && len(q) >= 12 && a[2]&0x80 != 0 && bytes.Equal(a[:2], q[:2])
}

// Forward is a [ServerConfig.Forward] to other servers, in their order. servers
// is asked anew for each question.
func Forward(servers func() []netip.AddrPort) func(ctx context.Context, query []byte, tcp bool) ([]byte, error) {
	return func(ctx context.Context, query []byte, tcp bool) ([]byte, error) {
		err := io.EOF
		for _, server := range servers() {
			var answer []byte
			if answer, err = sendUDP(ctx, server, query); err == nil && tcp && isTruncated(answer) {
				answer, err = sendTCP(ctx, server, query)
			}
			if err == nil {
				return answer, nil
			}
		}
		if err == io.EOF {
			return nil, errors.New("no server to forward to")
		}
		return nil, err
	}
}

// IsType reports whether Query knows a type of record by this name.
func IsType(qtype string) bool {
	_, known := dns.StringToType[strings.ToUpper(qtype)]
	return known
}

// Query asks a server for the records of a name by the name of their type (A,
// SRV …) and returns them as dig prints them. No such name, or none of that
// type, is a [*Rejection].
func Query(ctx context.Context, server netip.AddrPort, name, qtype string) ([]string, error) {
	typ, ok := dns.StringToType[strings.ToUpper(qtype)]
	if !ok {
		return nil, fmt.Errorf("record type %q is unknown", qtype)
	}
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), typ)
	m.SetEdns0(maxUDP, false)
	data, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("ask for %q: %w", name, err)
	}
	if data, err = Send(ctx, server, data); err != nil {
		return nil, err
	}
	if err := m.Unpack(data); err != nil {
		return nil, fmt.Errorf("parse answer: %w", err)
	}
	if m.Rcode != dns.RcodeSuccess {
		return nil, &Rejection{Rcode: dns.RcodeToString[m.Rcode]}
	}
	if len(m.Answer) == 0 {
		return nil, &Rejection{Rcode: "NODATA"}
	}
	var lines []string
	for _, rr := range m.Answer {
		lines = append(lines, strings.Join(strings.Fields(rr.String()), " "))
	}
	return lines, nil
}
