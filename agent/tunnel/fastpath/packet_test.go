package fastpath

import (
	"encoding/binary"
	"testing"

	"golang.zx2c4.com/wireguard/device"
)

func TestKindOf(t *testing.T) {
	for _, test := range []struct {
		kind uint32
		size int
		want kind
	}{
		{1, 148, handshakePacket}, {1, 147, noPacket}, {1, 149, noPacket},
		{2, 92, handshakePacket}, {2, 91, noPacket}, {2, 148, noPacket},
		{3, 64, handshakePacket}, {3, 63, noPacket}, {3, 92, noPacket},
		{4, 32, transportPacket}, {4, 31, noPacket}, {4, 148, transportPacket}, {4, 9000, transportPacket},
		{0, 148, noPacket}, {5, 148, noPacket}, {1 << 24, 148, noPacket}, {1<<8 | 4, 148, noPacket},
		{4, 0, noPacket}, {4, 3, noPacket},
	} {
		b := binary.LittleEndian.AppendUint32(nil, test.kind)
		b = append(b, make([]byte, 9000)...)[:test.size]
		if got := kindOf(b); got != test.want {
			t.Errorf("type %#x of %d bytes: %d, want %d", test.kind, test.size, got, test.want)
		}
	}
}

func TestPadding(t *testing.T) {
	for _, test := range []struct{ size, mtu, want int }{
		{0, 1400, 0}, {1, 1400, 15}, {15, 1400, 1}, {16, 1400, 0}, {1228, 1400, 4},
		{1399, 1400, 1}, {1400, 1400, 0}, {1393, 1400, 7}, {1392, 1400, 0},
		{1500, 1400, 0}, // the MTU was lowered a moment ago
		{1500, 0, 4},    // not known
	} {
		if got := padding(test.size, test.mtu); got != test.want {
			t.Errorf("%d bytes at MTU %d: %d, want %d", test.size, test.mtu, got, test.want)
		}
	}
}

// FuzzTake throws at the receiving side what an attacker may send, and what a peer
// may seal: what comes out is a whole IP packet from the peer's address.
func FuzzTake(f *testing.F) {
	a, b := newPair(f, false, true)
	a.pass(packet4(a, b, 1))
	f.Add([]byte{}, packet4(a, b, 20))
	f.Add([]byte{4, 0, 0, 0}, packet6(a, b, 20))
	f.Add(a.forge(1<<40, packet4(a, b, 2)), packet4(b, a, 4))
	f.Add(make([]byte, device.MessageInitiationSize), []byte{0x45})
	counter := uint64(1 << 20)
	sink := &checking{from: a}
	in := newInbound(b.path, &sessions{from: b.from, all: make(map[uint32]*session)}, sink)
	f.Fuzz(func(t *testing.T, raw, plain []byte) {
		sink.t, a.t = t, t
		counter++
		in.take([][]byte{raw, a.forge(counter, plain), raw}, make([]Key, 3))
	})
}

// checking is a TUN that looks at what is written to it.
type checking struct {
	t    *testing.T
	from *end
}

func (c *checking) Flush() error { return nil }

func (c *checking) Add(p []byte) error {
	switch {
	case len(p) >= header4 && p[0]>>4 == 4 && int(binary.BigEndian.Uint16(p[2:])) == len(p) &&
		string(p[source4:source4+4]) == string(c.from.addr4.AsSlice()):
	case len(p) >= header6 && p[0]>>4 == 6 && header6+int(binary.BigEndian.Uint16(p[4:])) == len(p) &&
		string(p[source6:source6+16]) == string(c.from.addr6.AsSlice()):
	default:
		c.t.Errorf("%d bytes came through: %.40x", len(p), p)
	}
	return nil
}
