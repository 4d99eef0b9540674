package fastpath

import (
	"net/netip"
	"slices"
	"testing"

	"meshd/agent/tunnel/vnet"
	"meshd/agent/tunnel/vnet/vnettest"
)

// joint takes what outbound sends, and may hand it to an inbound.
type joint struct {
	Transport // nil: nothing else is called
	to        *inbound
	peers     []Key
}

func (j *joint) Send(_ Key, bufs [][]byte) error {
	if j.to != nil {
		j.to.take(bufs, j.peers[:len(bufs)])
	}
	return nil
}

// void is a TUN that takes everything.
type void struct{}

func (void) Add([]byte) error { return nil }
func (void) Flush() error     { return nil }

// BenchmarkSeal segments and seals superpackets of 48 packets, and BenchmarkSealOpen
// opens them again at the other end. There is no system call in either.
func BenchmarkSeal(b *testing.B) { benchSeal(b, false) }

func BenchmarkSealOpen(b *testing.B) { benchSeal(b, true) }

func benchSeal(b *testing.B, open bool) {
	x, y := newPair(b, true, true)
	x.pass(packet4(x, y, 1)) // now there is a session
	const segment = 1348
	p := vnettest.Packet{Payload: make([]byte, 48*segment)}
	p.From, p.To = netip.AddrPortFrom(x.addr4, 1), netip.AddrPortFrom(y.addr4, 2)
	frame := p.Super(segment, false)
	kept := slices.Clone(frame)

	end := &joint{peers: make([]Key, sendBatch)}
	if open {
		end.to = newInbound(y.path, &sessions{from: y.from, all: make(map[uint32]*session)}, void{})
	}
	out := newOutbound(&Path{transport: end, layout: x.path.layout, now: x.path.now}, x.from)
	b.SetBytes(int64(len(frame) - vnet.HeaderLen))
	b.ReportAllocs()
	for b.Loop() {
		copy(frame, kept[:200]) // the headers, which were stamped over
		out.take([][]byte{frame})
	}
}
