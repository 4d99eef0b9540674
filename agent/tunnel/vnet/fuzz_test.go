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

// What was joined and is cut again is what it was: flow by flow, in order.
func FuzzCoalescer(f *testing.F) {
	f.Add(bytes.Repeat([]byte{0}, 100))
	f.Add(bytes.Repeat([]byte{0, 1, 2, 3}, 100))
	f.Add(bytes.Repeat([]byte{3, 3, 7, 3}, 40))
	for how := range byte(27) {
		f.Add([]byte{0, 1, 2, 3, 0x80, how, 0x81, how, 0x82, how, 0x83, how, 0, 1, 2, 3})
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := vnettest.Tale(b, from4, to4, from6, to6)
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
