package lab

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

// build makes a packet with right checksums around a body. For UDP and TCP the
// body's checksum is filled in unless keep.
func build(proto uint8, src, dst string, body []byte, keep bool) []byte {
	b := append([]byte{0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, proto, 0, 0}, netip.MustParseAddr(src).AsSlice()...)
	b = append(append(b, netip.MustParseAddr(dst).AsSlice()...), body...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[10:], ^sum(b[:20]))
	if !keep {
		p := ipv4(b)
		at := map[uint8]int{ICMP: 2, UDP: 6, TCP: 16}[proto]
		p.body()[at], p.body()[at+1] = 0, 0
		binary.BigEndian.PutUint16(p.body()[at:], ^p.bodySum())
	}
	return b
}

// bodySum is the sum that the checksum of the body completes to 0xffff.
func (p ipv4) bodySum() uint16 {
	if p.proto() == ICMP {
		return sum(p.body())
	}
	pseudo := append(append([]byte(nil), p[12:20]...), 0, p.proto(), 0, 0)
	binary.BigEndian.PutUint16(pseudo[10:], uint16(len(p.body())))
	return sum(append(pseudo, p.body()...))
}

func udp(src, dst uint16, payload string) []byte {
	b := binary.BigEndian.AppendUint16(nil, src)
	b = binary.BigEndian.AppendUint16(b, dst)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	return append(append(b, 0, 0), payload...)
}

func tcp(src, dst uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, src)
	b = binary.BigEndian.AppendUint16(b, dst)
	return append(b, make([]byte, 16)...)
}

func echo(typ byte, id uint16) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{typ, 0, 0, 0}, id), 0, 1, 'h', 'i')
}

// sound reports whether every checksum of a packet is right.
func sound(b []byte) bool {
	p, ok := parseIPv4(b)
	return ok && sum(p[:p.header()]) == 0xffff && (p.checksum() == nil || p.bodySum() == 0xffff)
}

const (
	insideAddr = "192.168.1.2"
	publicAddr = "198.51.100.1"
	remoteAddr = "203.0.113.1"
)

func TestRewrite(t *testing.T) {
	for _, c := range []struct {
		name     string
		packet   []byte
		src, dst string // as read before
		to       string // the new source
		want     string // the source read back
	}{
		{"udp", build(UDP, insideAddr, remoteAddr, udp(41641, 3478, "hello"), false), "192.168.1.2:41641", "203.0.113.1:3478", "198.51.100.1:2434", "198.51.100.1:2434"},
		{"udp, odd", build(UDP, insideAddr, remoteAddr, udp(41641, 3478, "odd"), false), "192.168.1.2:41641", "203.0.113.1:3478", "198.51.100.1:2434", "198.51.100.1:2434"},
		{"udp without checksum", build(UDP, insideAddr, remoteAddr, udp(1, 2, ""), true), "192.168.1.2:1", "203.0.113.1:2", "198.51.100.1:9", "198.51.100.1:9"},
		{"tcp", build(TCP, insideAddr, remoteAddr, tcp(50000, 443), false), "192.168.1.2:50000", "203.0.113.1:443", "198.51.100.1:50001", "198.51.100.1:50001"},
		{"echo", build(ICMP, insideAddr, remoteAddr, echo(icmpEcho, 7), false), "192.168.1.2:7", "203.0.113.1:0", "198.51.100.1:8", "198.51.100.1:8"},
		{"echo reply", build(ICMP, remoteAddr, publicAddr, echo(icmpEchoReply, 7), false), "203.0.113.1:0", "198.51.100.1:7", "198.51.100.9:5", "198.51.100.9:0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, ok := parseIPv4(c.packet)
			if !ok || p.src().String() != c.src || p.dst().String() != c.dst {
				t.Fatalf("parsed %v: from %v to %v, want from %s to %s", ok, p.src(), p.dst(), c.src, c.dst)
			}
			p.setSrc(netip.MustParseAddrPort(c.to))
			if got := p.src().String(); got != c.want {
				t.Errorf("source: got %s, want %s", got, c.want)
			}
			if got := p.dst().String(); got != c.dst {
				t.Errorf("destination: got %s, want %s as it was", got, c.dst)
			}
			if !p.age(3) || p[8] != 61 {
				t.Errorf("time to live: got %d, want 61", p[8])
			}
			if !sound(p) {
				t.Errorf("checksums are wrong: % x", []byte(p))
			}
		})
	}
}

func TestZeroChecksumStaysZero(t *testing.T) {
	p, _ := parseIPv4(build(UDP, insideAddr, remoteAddr, udp(1, 2, "x"), true))
	p.setSrc(netip.MustParseAddrPort("198.51.100.1:3"))
	if got := p.body()[6:8]; !bytes.Equal(got, []byte{0, 0}) {
		t.Errorf("got checksum % x, want none", got)
	}
}

// A checksum that comes out as zero must not be taken for none.
func TestChecksumIsNeverRewrittenToNone(t *testing.T) {
	for port := range uint16(65535) {
		p, _ := parseIPv4(build(UDP, insideAddr, remoteAddr, udp(41641, 3478, ""), false))
		p.setSrc(netip.AddrPortFrom(netip.MustParseAddr(publicAddr), port))
		if p.checksum() == nil {
			t.Fatalf("with source port %d the datagram has no checksum any more", port)
		}
		if !sound(p) {
			t.Fatalf("with source port %d the checksum is wrong", port)
		}
	}
}

func TestRefused(t *testing.T) {
	good := build(UDP, insideAddr, remoteAddr, udp(1, 2, "hello"), false)
	for _, c := range []struct {
		name string
		edit func(b []byte) []byte
	}{
		{"empty", func(b []byte) []byte { return nil }},
		{"short header", func(b []byte) []byte { return b[:19] }},
		{"no ports", func(b []byte) []byte { return b[:27] }},
		{"cut short", func(b []byte) []byte { return b[:len(b)-1] }},
		{"too long", func(b []byte) []byte { return append(b, 0) }},
		{"version 6", func(b []byte) []byte { b[0] = 0x65; return b }},
		{"header of 16 bytes", func(b []byte) []byte { b[0] = 0x44; return b }},
		{"header beyond the end", func(b []byte) []byte { b[0] = 0x4f; return b }},
		{"first fragment", func(b []byte) []byte { b[6] = 0x20; return b }},
		{"later fragment", func(b []byte) []byte { b[7] = 1; return b }},
		{"another protocol", func(b []byte) []byte { b[9] = 47; return b }},
		{"short tcp", func(b []byte) []byte { b[9] = TCP; return b }},
	} {
		if _, ok := parseIPv4(c.edit(append([]byte(nil), good...))); ok {
			t.Errorf("%s: accepted", c.name)
		}
	}
	if p, ok := parseIPv4(good); !ok || p.age(64) || !p.age(63) {
		t.Error("a packet lives for as many hops as its time to live says, less one")
	}
}

func FuzzRewrite(f *testing.F) {
	f.Add(build(UDP, insideAddr, remoteAddr, udp(1, 2, "hello"), false), []byte{198, 51, 100, 1}, uint16(3))
	f.Add(build(UDP, insideAddr, remoteAddr, udp(1, 2, "hello"), true), []byte{198, 51, 100, 1}, uint16(3))
	f.Add(build(TCP, insideAddr, remoteAddr, tcp(1, 2), false), []byte{198, 51, 100, 1}, uint16(3))
	f.Add(build(ICMP, insideAddr, remoteAddr, echo(icmpEcho, 1), false), []byte{198, 51, 100, 1}, uint16(3))
	f.Add(build(ICMP, remoteAddr, publicAddr, unreachable(), false), []byte{198, 51, 100, 1}, uint16(3))
	f.Fuzz(func(t *testing.T, b, addr []byte, port uint16) {
		p, ok := parseIPv4(b)
		if !ok || len(addr) != 4 {
			return
		}
		was := sound(b)
		size, src := len(b), p.src()
		to := netip.AddrPortFrom(netip.AddrFrom4([4]byte(addr)), port)
		p.setSrc(to)
		p.setDst(to)
		if q, ok := p.quoted(); ok {
			q.setSrc(to)
			p.seal()
		}
		if src.Port() != 0 && p.src() != to || p.dst().Addr() != to.Addr() || len(p) != size {
			t.Errorf("got %v to %v, want %v", p.src(), p.dst(), to)
		}
		if was && !sound(p) {
			t.Errorf("checksums were right and are not: % x", b)
		}
	})
}

// unreachable is an ICMP error about a datagram from the public address.
func unreachable() []byte {
	return append([]byte{icmpUnreachable, 3, 0, 0, 0, 0, 0, 0}, build(UDP, publicAddr, remoteAddr, udp(2434, 3478, "hello"), false)[:28]...)
}
