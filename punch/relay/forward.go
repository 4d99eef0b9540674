package relay

import (
	"cmp"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"meshd/punch/wire"
)

// batch is how many datagrams are forwarded at a time: some full bundles.
const batch = 256

// serveUDP reads one socket until it is closed. Datagrams are forwarded where the
// kernel put them, so that a bundle leaves as it came.
func (s *Server) serveUDP(socket, reader int) error {
	conn := s.conns[socket][reader]
	packets, from := make([][]byte, batch), make([]netip.AddrPort, batch)
	f := &forwarder{server: s, reader: reader, offloader: s.offloader}
	for {
		n, err := conn.Lend(packets, from)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		now := s.now()
		for i := range n {
			f.takeUDP(now, leg{socket, from[i]}, packets[i])
		}
		f.flush()
		if f.offloader != nil {
			f.offloader.report(f.meter.busy(now))
		}
	}
}

// forwarder carries out verdicts on one batch after the other.
type forwarder struct {
	server *Server
	reader int // which of the sockets that share an address sends
	outbox outbox
	tally  tally
	last   run

	offloader *offloader // nil: all is forwarded here
	meter     meter
}

// run is a row of datagrams from one source with one header: a bundle, mostly.
// One verdict is enough for it.
type run struct {
	from    leg
	head    uint64
	verdict verdict
	bytes   int
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
		f.endRun()
		f.last = run{from: from, head: head, verdict: f.server.handler.handle(now, from, b)}
	}
	f.last.bytes += len(b)
	if v := &f.last.verdict; f.carryOut(now, v, b) {
		to := netip.AddrPortFrom(from.addr.Addr(), cmp.Or(v.port, from.addr.Port()))
		if err := f.server.conns[v.socket][f.reader].Write([][]byte{v.reply}, to); err != nil {
			f.tally.drops[DropUndelivered]++
		}
	}
}

// endRun measures the run, and begins another.
func (f *forwarder) endRun() {
	if f.offloader != nil && f.last.verdict.action == forwardIt {
		f.meter.add(flow{f.last.from, f.last.head}, f.last.bytes)
	}
	f.last = run{}
}

// takePipe does the same with a datagram that came by p, the WebSocket of id.
func (f *forwarder) takePipe(now time.Time, id wire.RelayID, source netip.AddrPort, p pipe, b []byte) {
	v := f.server.handler.handlePipe(now, id, source, b)
	if f.carryOut(now, &v, b) {
		f.tally.drops[DropQueue] += uint64(p.send(v.reply))
	}
}

// carryOut does with b what v says, but for a reply, which it leaves to the
// caller.
func (f *forwarder) carryOut(now time.Time, v *verdict, b []byte) (reply bool) {
	switch v.action {
	case forwardIt:
		if v.limit != nil && !v.limit.AllowN(now, len(b)) {
			f.tally.drops[DropLimited]++
			return false
		}
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
	f.endRun()
	f.server.counters.add(&f.tally)
}

func (f *forwarder) send(g *group) {
	f.tally.packets += uint64(len(g.bufs))
	f.tally.bytes += uint64(g.bytes)
	if g.to.pipe != nil {
		f.tally.drops[DropQueue] += uint64(g.to.pipe.send(g.bufs...))
		return
	}
	at := len(g.bufs)
	if g.to.singly {
		at = 1
	}
	for bufs := range slices.Chunk(g.bufs, at) {
		if err := f.server.conns[g.to.leg.socket][f.reader].Write(bufs, g.to.leg.addr); err != nil {
			f.tally.drops[DropUndelivered] += uint64(len(bufs))
		}
	}
}
