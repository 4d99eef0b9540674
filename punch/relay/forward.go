package relay

import (
	"cmp"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"meshd/punch/wire"
)

// maxDatagram holds whatever an underlay of 9000 bytes can carry in one piece.
const maxDatagram = 9216

// serveUDP reads one socket until it is closed.
func (s *Server) serveUDP(socket int) error {
	conn := s.conns[socket]
	n := conn.BatchSize()
	bufs, sizes, from := make([][]byte, n), make([]int, n), make([]netip.AddrPort, n)
	slab := make([]byte, n*maxDatagram)
	for i := range bufs {
		bufs[i] = slab[i*maxDatagram:][:maxDatagram:maxDatagram]
	}
	f := &forwarder{server: s}
	for {
		n, err := conn.Read(bufs, sizes, from)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		now := s.now()
		for i := range n {
			f.takeUDP(now, leg{socket, from[i]}, bufs[i][:sizes[i]])
		}
		f.flush()
	}
}

// forwarder carries out verdicts on one batch after the other.
type forwarder struct {
	server *Server
	outbox outbox
	tally  tally
	last   run
}

// run is a row of datagrams from one source with one header: a bundle, mostly.
// One verdict is enough for it.
type run struct {
	from    leg
	head    uint64
	verdict verdict
}

// takeUDP handles a datagram and keeps hold of it until flush if it is to be
// forwarded.
func (f *forwarder) takeUDP(now time.Time, from leg, b []byte) {
	if len(b) < wire.HeaderSize {
		f.tally.drops[DropMalformed]++
		return
	}
	head := binary.BigEndian.Uint64(b)
	if f.last.verdict.action != forwardIt || head != f.last.head || from != f.last.from {
		f.last = run{from, head, f.server.handler.handle(now, from, b)}
	}
	if v := &f.last.verdict; f.carryOut(v, b) {
		to := netip.AddrPortFrom(from.addr.Addr(), cmp.Or(v.port, from.addr.Port()))
		if err := f.server.conns[v.socket].Write([][]byte{v.reply}, to); err != nil {
			f.tally.drops[DropUndelivered]++
		}
	}
}

// takePipe does the same with a datagram that came by p, the WebSocket of id.
func (f *forwarder) takePipe(now time.Time, id wire.RelayID, source netip.AddrPort, p pipe, b []byte) {
	v := f.server.handler.handlePipe(now, id, source, b)
	if f.carryOut(&v, b) {
		f.tally.drops[DropQueue] += uint64(p.send(v.reply))
	}
}

// carryOut does with b what v says, but for a reply, which it leaves to the
// caller.
func (f *forwarder) carryOut(v *verdict, b []byte) (reply bool) {
	switch v.action {
	case forwardIt:
		copy(b, v.head[:])
		f.outbox.add(v.to, b)
	case replyToIt:
		f.tally.replies++
	case dropIt:
		f.tally.drops[v.drop]++
	}
	return v.action == replyToIt
}

// flush sends everything that was taken and forgets it.
func (f *forwarder) flush() {
	for _, g := range f.outbox.groups() {
		f.send(g)
	}
	f.outbox.clear()
	f.last = run{}
	f.server.counters.add(&f.tally)
}

func (f *forwarder) send(g *group) {
	f.tally.packets += uint64(len(g.bufs))
	f.tally.bytes += uint64(g.bytes)
	if g.to.pipe != nil {
		f.tally.drops[DropQueue] += uint64(g.to.pipe.send(g.bufs...))
		return
	}
	if err := f.server.conns[g.to.leg.socket].Write(g.bufs, g.to.leg.addr); err != nil {
		f.tally.drops[DropUndelivered] += uint64(len(g.bufs))
	}
}
