package inkernel

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"
)

// MaxFlows is how many flows a table holds.
const MaxFlows = 256

// Flow says which packets are forwarded: those from a member's address to an address
// of the relay's own, both of one family, that begin with Head.
type Flow struct {
	From, At netip.AddrPort
	Head     [headSize]byte
}

// Exit says what becomes of a flow's packets. Limit is the key of the bucket that
// they are charged to; zero: none.
type Exit struct {
	From, To netip.AddrPort
	Limit    uint32
}

// Path is how this host reaches an address.
type Path struct {
	Source    netip.Addr
	Interface int // its index
	MTU       int
}

// ErrNoPath says that the kernel does not lead to an address by a card.
var ErrNoPath = errors.New("no path to forward by")

// Count is what was forwarded: datagrams, and the bytes of their payload; and how many
// were dropped for the limit.
type Count struct{ Packets, Bytes, Dropped uint64 }

// key encodes a flow as the program finds it by, in the host's byte order where the
// program reads whole words.
func (f *Flow) key(iface int) []byte {
	b := make([]byte, keySize)
	copy(b[keySource:], f.From.Addr().AsSlice())
	copy(b[keyTarget:], f.At.Addr().AsSlice())
	copy(b[keyHead:], f.Head[:])
	putPorts(b[keyPorts:], f.From, f.At)
	binary.NativeEndian.PutUint32(b[keyInterface:], uint32(iface))
	protocol := etherIPv6
	if f.From.Addr().Is4() {
		protocol = etherIPv4
	}
	binary.NativeEndian.PutUint32(b[keyProtocol:], uint32(protocol))
	return b
}

// value encodes where a flow goes. It has forwarded nothing yet.
func (e *Exit) value(out Path) []byte {
	b := make([]byte, valueSize)
	copy(b[valueAddrs:], append(e.From.Addr().AsSlice(), e.To.Addr().AsSlice()...))
	putPorts(b[valuePorts:], e.From, e.To)
	binary.NativeEndian.PutUint32(b[valueInterface:], uint32(out.Interface))
	binary.NativeEndian.PutUint32(b[valueMTU:], uint32(out.MTU))
	binary.NativeEndian.PutUint32(b[valueLimit:], e.Limit)
	return b
}

func putPorts(b []byte, source, target netip.AddrPort) {
	binary.BigEndian.PutUint16(b, source.Port())
	binary.BigEndian.PutUint16(b[2:], target.Port())
}

func countOf(value []byte) Count {
	return Count{
		Packets: binary.NativeEndian.Uint64(value[valuePackets:]),
		Bytes:   binary.NativeEndian.Uint64(value[valueBytes:]),
		Dropped: binary.NativeEndian.Uint64(value[valueDropped:]),
	}
}

// limitKey and limitValue encode a bucket. It begins empty: who was just forwarded
// by other means has used up its burst.
func limitKey(id uint32) []byte { return binary.NativeEndian.AppendUint32(nil, id) }

func limitValue(now, rate, burst uint64) []byte {
	span := burst * uint64(time.Second) / rate
	b := make([]byte, limitSize)
	binary.NativeEndian.PutUint64(b[limitPaid:], now+span)
	binary.NativeEndian.PutUint64(b[limitCost:], uint64(time.Second)<<costShift/rate)
	binary.NativeEndian.PutUint64(b[limitBurst:], span)
	return b
}
