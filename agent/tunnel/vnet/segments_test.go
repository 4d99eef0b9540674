package vnet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"meshd/agent/tunnel/vnet/vnettest"
)

var (
	from4, to4 = netip.MustParseAddrPort("100.96.0.1:40000"), netip.MustParseAddrPort("100.96.0.2:443")
	from6, to6 = netip.MustParseAddrPort("[fd00::1]:40000"), netip.MustParseAddrPort("[fd00::2]:443")
)

func payload(n int) []byte { return vnettest.Payload(n) }

// cut returns copies of the segments of a frame.
func cut(t testing.TB, frame []byte) [][]byte {
	t.Helper()
	var s Segments
	if err := s.Reset(frame); err != nil {
		t.Fatal(err)
	}
	var packets [][]byte
	for p, ok := s.Next(); ok; p, ok = s.Next() {
		packets = append(packets, slices.Clone(p))
	}
	return packets
}

func TestSegments(t *testing.T) {
	data := payload(1000)
	timestamps := []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}
	for name, test := range map[string]struct {
		super vnettest.Packet
		size  int
		ecn   bool
		want  []vnettest.Packet
	}{
		"tcp4: sequence and identification count": {
			vnettest.Packet{From: from4, To: to4, ID: 65535, Seq: 0xffffff00, Window: 9, Payload: data}, 400, false,
			[]vnettest.Packet{
				{From: from4, To: to4, ID: 65535, Seq: 0xffffff00, Window: 9, Payload: data[:400]},
				{From: from4, To: to4, ID: 0, Seq: 0x00000090, Window: 9, Payload: data[400:800]},
				{From: from4, To: to4, ID: 1, Seq: 0x00000220, Window: 9, Payload: data[800:]},
			},
		},
		"tcp4: PSH and FIN are the last one's, CWR the first one's, ECE everyone's": {
			vnettest.Packet{From: from4, To: to4, DF: true, TOS: 1, Flags: 0xd9, Payload: data}, 400, true,
			[]vnettest.Packet{
				{From: from4, To: to4, DF: true, TOS: 1, Flags: 0xd0, Payload: data[:400]},
				{From: from4, To: to4, DF: true, TOS: 1, ID: 1, Seq: 400, Flags: 0x50, Payload: data[400:800]},
				{From: from4, To: to4, DF: true, TOS: 1, ID: 2, Seq: 800, Flags: 0x59, Payload: data[800:]},
			},
		},
		"tcp6: options": {
			vnettest.Packet{From: from6, To: to6, FlowLabel: 0x12345, Options: timestamps, Payload: data}, 500, false,
			[]vnettest.Packet{
				{From: from6, To: to6, FlowLabel: 0x12345, Options: timestamps, Payload: data[:500]},
				{From: from6, To: to6, FlowLabel: 0x12345, Options: timestamps, Seq: 500, Payload: data[500:]},
			},
		},
		"tcp4: segments shorter than their header": {
			vnettest.Packet{From: from4, To: to4, Payload: data[:3]}, 1, false,
			[]vnettest.Packet{
				{From: from4, To: to4, Payload: data[:1]},
				{From: from4, To: to4, ID: 1, Seq: 1, Payload: data[1:2]},
				{From: from4, To: to4, ID: 2, Seq: 2, Payload: data[2:3]},
			},
		},
		"tcp4: one segment": {
			vnettest.Packet{From: from4, To: to4, Flags: 0x18, Payload: data}, 1000, false,
			[]vnettest.Packet{{From: from4, To: to4, Flags: 0x18, Payload: data}},
		},
		"udp4: odd tail": {
			vnettest.Packet{From: from4, To: to4, UDP: true, ID: 7, Payload: data[:999]}, 500, false,
			[]vnettest.Packet{
				{From: from4, To: to4, UDP: true, ID: 7, Payload: data[:500]},
				{From: from4, To: to4, UDP: true, ID: 8, Payload: data[500:999]},
			},
		},
		"udp6: odd size": {
			vnettest.Packet{From: from6, To: to6, UDP: true, TOS: 0xba, Payload: data}, 333, false,
			[]vnettest.Packet{
				{From: from6, To: to6, UDP: true, TOS: 0xba, Payload: data[:333]},
				{From: from6, To: to6, UDP: true, TOS: 0xba, Payload: data[333:666]},
				{From: from6, To: to6, UDP: true, TOS: 0xba, Payload: data[666:999]},
				{From: from6, To: to6, UDP: true, TOS: 0xba, Payload: data[999:]},
			},
		},
		"udp6: extension headers stay": {
			vnettest.Packet{From: from6, To: to6, UDP: true, ExtensionHeaders: []byte{17, 0, 1, 4, 0, 0, 0, 0}, Payload: data}, 600, false,
			[]vnettest.Packet{
				{From: from6, To: to6, UDP: true, ExtensionHeaders: []byte{17, 0, 1, 4, 0, 0, 0, 0}, Payload: data[:600]},
				{From: from6, To: to6, UDP: true, ExtensionHeaders: []byte{17, 0, 1, 4, 0, 0, 0, 0}, Payload: data[600:]},
			},
		},
		"udp4: IP options stay": {
			vnettest.Packet{From: from4, To: to4, UDP: true, IPOptions: []byte{1, 1, 1, 1}, Payload: data}, 600, false,
			[]vnettest.Packet{
				{From: from4, To: to4, UDP: true, IPOptions: []byte{1, 1, 1, 1}, Payload: data[:600]},
				{From: from4, To: to4, UDP: true, ID: 1, IPOptions: []byte{1, 1, 1, 1}, Payload: data[600:]},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := cut(t, test.super.Super(test.size, test.ecn))
			if len(got) != len(test.want) {
				t.Fatalf("%d segments, want %d", len(got), len(test.want))
			}
			for i, want := range test.want {
				if !bytes.Equal(got[i], want.Bytes()) {
					t.Errorf("segment %d:\n%x, want\n%x", i, got[i], want.Bytes())
				}
			}
		})
	}
}

func TestSegmentsOfLonePackets(t *testing.T) {
	for name, p := range map[string]vnettest.Packet{
		"tcp4": {From: from4, To: to4, Payload: payload(31)},
		"udp6": {From: from6, To: to6, UDP: true, Payload: payload(30)},
	} {
		// A checksum left to us is completed.
		frame := p.Super(1, false)
		frame[1] = gsoNone
		if got := cut(t, frame); len(got) != 1 || !bytes.Equal(got[0], p.Bytes()) {
			t.Errorf("%s: %x, want %x", name, got, p.Bytes())
		}
		// One that was not left to us is nobody's business.
		p.WrongChecksum = true
		if got := cut(t, append(make([]byte, HeaderLen), p.Bytes()...)); len(got) != 1 || !bytes.Equal(got[0], p.Bytes()) {
			t.Errorf("%s, untouched: %x, want %x", name, got, p.Bytes())
		}
	}
}

// A datagram of which the sum is zero says so by all ones (RFC 768).
func TestSegmentsNeverSayNoChecksum(t *testing.T) {
	p := vnettest.Packet{From: from4, To: to4, UDP: true, Payload: make([]byte, 2)}
	b := p.Bytes()
	copy(p.Payload, b[26:28]) // adding the checksum itself makes the sum zero
	if b = p.Bytes(); b[26] != 0xff || b[27] != 0xff {
		t.Fatalf("checksum %x, want ffff", b[26:28])
	}
	many := p
	many.Payload = bytes.Repeat(p.Payload, 2)
	for _, got := range cut(t, many.Super(2, false)) {
		if !bytes.Equal(got[26:28], []byte{0xff, 0xff}) {
			t.Errorf("checksum %x, want ffff", got[26:28])
		}
	}
}

func TestSegmentsRefuses(t *testing.T) {
	tcp4 := vnettest.Packet{From: from4, To: to4, Payload: payload(100)}
	tcp6 := vnettest.Packet{From: from6, To: to6, Payload: payload(100)}
	udp4 := vnettest.Packet{From: from4, To: to4, UDP: true, Payload: payload(100)}
	spoil := func(p vnettest.Packet, f func(b []byte) []byte) []byte { return f(p.Super(50, false)) }
	word := func(at int, v uint16) func([]byte) []byte {
		return func(b []byte) []byte { binary.NativeEndian.PutUint16(b[at:], v); return b }
	}
	octet := func(at int, v uint8) func([]byte) []byte {
		return func(b []byte) []byte { b[at] = v; return b }
	}
	for name, frame := range map[string][]byte{
		"empty":                     nil,
		"half a header":             make([]byte, 9),
		"no packet":                 make([]byte, 10),
		"segments of size 0":        spoil(tcp4, word(4, 0)),
		"fragmentation (UFO)":       spoil(udp4, octet(1, 3)),
		"TCPv6 of IPv4":             spoil(tcp4, octet(1, gsoTCPv6)),
		"TCPv4 of IPv6":             spoil(tcp6, octet(1, gsoTCPv4)),
		"UDP of IP version 0":       spoil(udp4, octet(10, 0x05)),
		"TCP type, UDP inside":      spoil(udp4, octet(1, gsoTCPv4)),
		"transport inside IPv4":     spoil(tcp4, word(6, 16)),
		"transport inside IPv6":     spoil(tcp6, word(6, 36)),
		"transport behind the end":  spoil(tcp6, word(6, 4000)),
		"checksum elsewhere":        spoil(tcp4, word(8, 6)),
		"TCP header of 16 bytes":    spoil(tcp4, octet(10+20+12, 0x40)),
		"TCP header behind the end": spoil(tcp4, func(b []byte) []byte { b = b[:10+44]; b[10+20+12] = 0xf0; return b }),
		"headers that never end": spoil(tcp6, func(b []byte) []byte {
			b = append(b, make([]byte, 400)...)
			b[10+300+12] = 0x50
			return word(6, 300)(b)
		}),
		"UDP inside of TCP":       spoil(tcp4, octet(10+9, protoUDP)),
		"IPv4 header of 16 bytes": spoil(tcp4, func(b []byte) []byte { b[10] = 0x44; b[10+16+12] = 0x50; return word(6, 16)(b) }),
		"lone, checksum outside":  spoil(tcp4, func(b []byte) []byte { b[1] = gsoNone; return b[:10+37] }),
	} {
		var s Segments
		if err := s.Reset(frame); err == nil {
			t.Errorf("%s: no error", name)
		}
		if p, ok := s.Next(); ok {
			t.Errorf("%s: packet %x", name, p)
		}
	}
}

// Whatever the frame, segments stay inside of it, follow one another and lose
// nothing of the payload.
func FuzzSegments(f *testing.F) {
	for _, p := range []vnettest.Packet{
		{From: from4, To: to4, Payload: payload(100)},
		{From: from6, To: to6, UDP: true, Payload: payload(101)},
		{From: from6, To: to6, Flags: 0xd9, Options: make([]byte, 12), Payload: payload(5)},
	} {
		f.Add(p.Super(40, true))
		f.Add(append(make([]byte, HeaderLen), p.Bytes()...))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) > HeaderLen+maxPacket {
			return
		}
		before := slices.Clone(frame)
		var s Segments
		if err := s.Reset(frame); err != nil {
			return
		}
		var carried []byte
		for p, ok := s.Next(); ok; p, ok = s.Next() {
			if s.lone {
				return
			}
			if len(p) < s.headLen || len(p) > s.headLen+s.size {
				t.Fatalf("segment of %d bytes, headers %d, size %d", len(p), s.headLen, s.size)
			}
			// The kernel's sum is taken on trust, and Valid knows no extension headers.
			ours := before[0]&flagNeedsChecksum == 0 && (s.v4 || s.start == ipv6HeaderLen && p[6] == s.proto())
			if ours && !vnettest.Valid(p) {
				t.Fatalf("checksum of %x", p)
			}
			carried = append(carried, p[s.headLen:]...)
		}
		if !bytes.Equal(carried, before[HeaderLen+s.headLen:]) {
			t.Fatalf("carried %x of %x", carried, before)
		}
	})
}

func BenchmarkSegments(b *testing.B) {
	frame := vnettest.Packet{From: from4, To: to4, Payload: payload(48 * 1348)}.Super(1348, false)
	kept := slices.Clone(frame)
	var s Segments
	b.SetBytes(int64(len(frame)))
	for b.Loop() {
		copy(frame, kept[:200]) // the headers, which were stamped over
		if err := s.Reset(frame); err != nil {
			b.Fatal(err)
		}
		for _, ok := s.Next(); ok; _, ok = s.Next() {
		}
	}
}

func TestSegmentsZeroValue(t *testing.T) {
	var s Segments
	if p, ok := s.Next(); ok {
		t.Errorf("packet %x", p)
	}
}
