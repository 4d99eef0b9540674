package dnssd

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

const (
	maxReaders = 4
	// maxSlow is how many messages that wait for somebody else (updates, and
	// questions to forward) are under way at a time; more are not heard.
	maxSlow = 64
)

// bound is a UDP socket of one address. One that is bound to all addresses has to
// be told which of them answers, which costs as much as the answer.
type bound interface {
	net.PacketConn
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
}

// boundOf returns conn if it is bound to one address.
func boundOf(conn net.PacketConn) (bound, bool) {
	b, ok := conn.(bound)
	return b, ok && !addrPort(conn.LocalAddr()).Addr().IsUnspecified()
}

// serveUDP answers on a socket until ctx ends. What the zone itself can answer is
// answered at once by the goroutine that read it: a question costs a few
// microseconds, less than handing it over, and none waits behind others' wake-ups.
func (s *Server) serveUDP(ctx context.Context, conn bound) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	slow := make(chan struct{}, maxSlow)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	var readers errgroup.Group
	for range min(runtime.GOMAXPROCS(0), maxReaders) {
		readers.Go(func() error {
			r := &reader{Server: s, conn: conn, slow: slow, waiting: &waiting}
			return r.run(ctx)
		})
	}
	return readers.Wait()
}

// reader is one of those that read a socket, and what it needs again and again.
type reader struct {
	*Server
	conn    bound
	slow    chan struct{}
	waiting *sync.WaitGroup
	in      [4096]byte
	out     [maxUDP + 512]byte
}

func (r *reader) run(ctx context.Context) error {
	for {
		n, src, err := r.conn.ReadFromUDPAddrPort(r.in[:])
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil: // an ICMP message about an answer, or the like
			if ctx.Err() != nil {
				return nil
			}
			continue
		}
		r.take(ctx, r.in[:n], src)
	}
}

// take answers one datagram. What is no request is not answered: neither is an
// answer, so that two servers never talk to each other.
func (r *reader) take(ctx context.Context, b []byte, src netip.AddrPort) {
	if len(b) < 12 || b[2]&0x80 != 0 || !r.admit(unmap(src)) {
		return
	}
	m := new(dns.Msg)
	x := &exchange{msg: m, src: unmap(src), udp: true}
	if err := m.Unpack(b); err != nil {
		r.reply(malformed(b), src)
		return
	}
	if sig, _ := signature(m); sig != nil {
		x.sigErr = verify(b, r.secrets, "")
	}
	if !r.waits(m) {
		r.reply(r.answer(ctx, x, r.out[:]), src)
		return
	}
	select {
	case r.slow <- struct{}{}:
	default:
		return
	}
	r.waiting.Go(func() {
		defer func() { <-r.slow }()
		r.reply(r.answer(ctx, x, nil), src)
	})
}

// waits reports whether the answer to m may have to wait for somebody.
func (s *Server) waits(m *dns.Msg) bool {
	return m.Opcode != dns.OpcodeQuery || s.Forward != nil && len(m.Question) == 1 && s.Zone.apex(canonical(m.Question[0].Name)) == ""
}

func (r *reader) reply(data []byte, to netip.AddrPort) {
	if data != nil {
		r.conn.WriteToUDPAddrPort(data, to) // whoever asked is gone
	}
}

// malformed is the answer to what is a request by its header alone.
func malformed(b []byte) []byte {
	m := new(dns.Msg)
	m.Id, m.Opcode = uint16(b[0])<<8|uint16(b[1]), int(b[2]>>3&0xf)
	m.Response, m.Rcode = true, dns.RcodeFormatError
	data, err := m.Pack()
	if err != nil {
		return nil
	}
	return data
}
