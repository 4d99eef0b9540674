package vnet

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"meshd/agent/tunnel/vnet/vnettest"
)

func flip(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), a.Port()^1) }

func neighbour(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Next(), a.Port()) }

func extended(p *vnettest.Packet) { p.ExtensionHeaders = []byte{p6(p.UDP), 0, 1, 4, 0, 0, 0, 0} }

func p6(udp bool) byte {
	if udp {
		return protoUDP
	}
	return protoTCP
}

// tale reads packets of a few flows from b: each byte or two is one packet,
// which mostly goes on where the flow was.
func tale(b []byte) (packets [][]byte) {
	flows := [4]vnettest.Packet{
		{From: from4, To: to4, DF: true, Window: 9},
		{From: from6, To: to6, Window: 9},
		{From: from4, To: to4, UDP: true},
		{From: from6, To: to6, UDP: true},
	}
	for len(b) > 1 && len(packets) < 600 {
		f := &flows[b[0]&3]
		p := *f
		p.Payload = payload(90 + int(b[0]>>2&1)*10)
		if b[0]&0x80 != 0 {
			change(&p, b[1])
			b = b[1:]
		}
		b = b[1:]
		packets = append(packets, p.Bytes())
		f.Seq, f.ID = p.Seq+uint32(len(p.Payload)), p.ID+1
		f.Window, f.TOS = p.Window, p.TOS
	}
	return packets
}

// change makes a packet unusual.
func change(p *vnettest.Packet, how uint8) {
	switch how & 31 {
	case 0, 1, 2, 3, 4, 5, 6, 7:
		p.Flags = 0x10 | 1<<(how&7)
	case 8:
		p.Payload = nil
	case 9:
		p.Payload = payload(int(how))
	case 10:
		p.Window++
	case 11:
		p.TOS++
	case 12:
		p.TTL = 3
	case 13:
		p.ID += 7
	case 14:
		p.DF = !p.DF
	case 15:
		p.Seq += 90
	case 16:
		p.NoChecksum = p.UDP
	case 17:
		extended(p)
	case 18:
		p.IPOptions = []byte{1, 1, 1, 0}
	case 19:
		p.Fragment = 0x2000
	case 20:
		p.Options = []byte{1, 1, 1, how}
	case 21:
		p.From = flip(p.From)
	case 22:
		p.To = neighbour(p.To)
	case 23:
		p.FlowLabel++
	case 24:
		p.Payload = payload(9000)
	case 25:
		p.WrongIPChecksum = true
	case 26:
		p.Urgent++
	}
}

// What was joined and is cut again is what it was: flow by flow, in order.
func FuzzCoalescer(f *testing.F) {
	f.Add(bytes.Repeat([]byte{0}, 100))
	f.Add(bytes.Repeat([]byte{0, 1, 2, 3}, 100))
	f.Add(bytes.Repeat([]byte{3, 3, 7, 3}, 40))
	for how := range byte(27) {
		f.Add([]byte{0, 1, 2, 3, 0x80, how, 0x81, how, 0x82, how, 0x83, how, 0, 1, 2, 3})
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := tale(b)
		frames := join(t, in...)
		out := cutAll(t, frames)
		if len(in) != len(out) {
			t.Fatalf("%d packets became %d", len(in), len(out))
		}
		want, got := byFlow(in), byFlow(out)
		for flow, packets := range want {
			if !vnettest.Equivalent(packets, got[flow]) {
				t.Fatalf("flow %x:\n%x, want\n%x", flow, got[flow], packets)
			}
		}
	})
}

// byFlow sorts packets of a tale by addresses, protocol and ports.
func byFlow(packets [][]byte) map[string][][]byte {
	flows := map[string][][]byte{}
	for _, p := range packets {
		addrs, proto, start := p[12:20], p[9], int(p[0]&15)*4
		if p[0]>>4 == 6 {
			addrs, proto, start = p[8:40], p[6], ipv6HeaderLen
			if proto == 60 { // destination options, of 8 bytes
				proto, start = p[40], ipv6HeaderLen+8
			}
		}
		key := fmt.Sprintf("%x %d %x", addrs, proto, p[start:start+4])
		flows[key] = append(flows[key], p)
	}
	return flows
}

// Packets of any bytes are neither lost nor changed beyond what may be.
func FuzzCoalescerBytes(f *testing.F) {
	f.Add(vnettest.Packet{From: from4, To: to4, Payload: payload(20)}.Bytes(), vnettest.Packet{From: from4, To: to4, Seq: 20, ID: 1, Payload: payload(20)}.Bytes())
	f.Add(vnettest.Packet{From: from6, To: to6, UDP: true, Payload: payload(20)}.Bytes(), vnettest.Packet{From: from6, To: to6, UDP: true, Payload: payload(9)}.Bytes())
	f.Add([]byte{}, []byte{0x45})
	f.Fuzz(func(t *testing.T, p, q []byte) {
		if len(p) > maxPacket || len(q) > maxPacket {
			return
		}
		first, second := slices.Clone(p), slices.Clone(q)
		frames := join(t, p, q)
		if !bytes.Equal(p, first) || !bytes.Equal(q, second) {
			t.Fatal("a packet was written to")
		}
		switch len(frames) {
		case 1:
			out := cut(t, frames[0])
			if len(out) != 2 || !sameButChecksum(p, out[0]) || !sameButChecksum(q, out[1]) {
				t.Fatalf("%x\n%x\nbecame %x", p, q, out)
			}
		case 2:
			if !bytes.Equal(frames[0][HeaderLen:], p) || !bytes.Equal(frames[1][HeaderLen:], q) {
				t.Fatalf("%x\n%x\nbecame %x", p, q, frames)
			}
		default:
			t.Fatalf("%d frames", len(frames))
		}
	})
}

// sameButChecksum allows for a transport checksum that was wrong: it is valid now.
func sameButChecksum(p, q []byte) bool {
	if !vnettest.Valid(q) || len(p) != len(q) {
		return false
	}
	s := examine(p)
	at := s.start + tcpChecksumAt
	if s.udp {
		at = s.start + udpChecksumAt
	}
	p, q = slices.Clone(vnettest.Canonical(p)), slices.Clone(vnettest.Canonical(q))
	clear(p[at : at+2])
	clear(q[at : at+2])
	return bytes.Equal(p, q)
}
