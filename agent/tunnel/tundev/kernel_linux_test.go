package tundev

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"meshd/agent/tunnel/vnet"
	"meshd/agent/tunnel/vnet/vnettest"
)

// These tests hold our cutting and joining against the kernel's. It forwards what
// is written to one TUN to another:
//
//	test --> vnetin --> kernel --> vnetout --> test
//
// When vnetout takes superpackets we cut them; when it does not, the kernel does.
var (
	from4, to4 = netip.MustParseAddrPort("100.96.0.1:40000"), netip.MustParseAddrPort("100.97.0.2:443")
	from6, to6 = netip.MustParseAddrPort("[fd00:1::1]:40000"), netip.MustParseAddrPort("[fd00:2::2]:443")
)

func payload(n int) []byte { return vnettest.Payload(n) }

// forwarding makes the two devices; o is what vnetout takes.
func forwarding(t testing.TB, o vnet.Offloads) (in, out *Device) {
	t.Helper()
	for _, path := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
		if err := os.WriteFile(path, []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
	}
	in, out = open(t, "vnetin", everything), open(t, "vnetout", o)
	up(t, "vnetin", "100.96.0.254/24", "fd00:1::fe/64")
	up(t, "vnetout", "100.97.0.254/24", "fd00:2::fe/64")
	within(t, in)
	within(t, out)
	return in, out
}

// relevant tells packets of the test from what the kernel says by itself.
func relevant(p []byte) bool {
	if p[0]>>4 == 4 {
		return bytes.Equal(p[12:16], from4.Addr().AsSlice())
	}
	return bytes.Equal(p[8:24], from6.Addr().AsSlice())
}

// received returns n packets of the test that come out, cut by us if need be, and
// how many of the frames were superpackets.
func received(t testing.TB, d *Device, n int) (packets [][]byte, supers int) {
	t.Helper()
	frames := make([][]byte, 16)
	for len(packets) < n {
		got, err := d.ReadFrames(frames)
		if err != nil {
			t.Fatalf("%d packets, want %d: %v", len(packets), n, err)
		}
		for _, f := range frames[:got] {
			if !relevant(f[vnet.HeaderLen:]) {
				continue
			}
			if vnet.IsSuper(f) {
				supers++
			}
			var s vnet.Segments
			if err := s.Reset(f); err != nil {
				t.Fatal(err)
			}
			for p, ok := s.Next(); ok; p, ok = s.Next() {
				packets = append(packets, slices.Clone(p))
			}
		}
	}
	return packets, supers
}

var timestamps = []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}

func TestCutAsTheKernelDoes(t *testing.T) {
	type row struct {
		name     string
		super    vnettest.Packet
		size     int
		ecn      bool
		segments int
	}
	var rows []row
	for _, base := range []vnettest.Packet{
		{From: from4, To: to4, ID: 65534, DF: true}, {From: from4, To: to4, ID: 65534}, {From: from6, To: to6, FlowLabel: 0x54321},
	} {
		with := func(name string, size, n, segments int, ecn bool, f func(p *vnettest.Packet)) {
			r := row{name: name, super: base, size: size, ecn: ecn, segments: segments}
			r.super.Payload = payload(n)
			f(&r.super)
			r.name += " to " + r.super.To.String()
			rows = append(rows, r)
		}
		plain := func(*vnettest.Packet) {}
		with("tcp", 1000, 5000, 5, false, plain)
		with("tcp, a tail", 1000, 5001, 6, false, plain)
		with("tcp, odd size", 999, 3000, 4, false, plain)
		with("tcp, tiny segments", 7, 50, 8, false, plain)
		with("tcp, sequence wraps", 1000, 2500, 3, false, func(p *vnettest.Packet) { p.Seq = 0xfffffc18 })
		with("tcp, 64 KB", 1300, 65000, 50, false, plain)
		with("tcp, options", 1000, 2500, 3, false, func(p *vnettest.Packet) { p.Options = timestamps })
		with("tcp, PSH", 1000, 2500, 3, false, func(p *vnettest.Packet) { p.Flags = 0x18 })
		with("tcp, FIN and PSH", 1000, 2500, 3, false, func(p *vnettest.Packet) { p.Flags = 0x19 })
		with("tcp, ECE", 1000, 2500, 3, false, func(p *vnettest.Packet) { p.Flags, p.TOS = 0x50, 2 })
		with("tcp, CWR", 1000, 2500, 3, true, func(p *vnettest.Packet) { p.Flags, p.TOS = 0x90, 2 })
		with("tcp, CWR, ECE, PSH, FIN", 1000, 2500, 3, true, func(p *vnettest.Packet) { p.Flags, p.TOS = 0xd9, 3 })
		with("tcp, urgent pointer", 1000, 2500, 3, false, func(p *vnettest.Packet) { p.Urgent = 77 })
		with("tcp, payload of zeros", 1000, 2500, 3, false, func(p *vnettest.Packet) { clear(p.Payload) })
		with("tcp, checksums of zero", 1000, 2500, 3, false, func(p *vnettest.Packet) { sumsOfZero(p, 1000) })
		with("udp, checksums of zero", 1000, 2500, 3, false, func(p *vnettest.Packet) { p.UDP = true; sumsOfZero(p, 1000) })
		with("udp", 1000, 5000, 5, false, func(p *vnettest.Packet) { p.UDP = true })
		with("udp, odd size and tail", 333, 1000, 4, false, func(p *vnettest.Packet) { p.UDP = true })
		with("udp, traffic class", 500, 1200, 3, false, func(p *vnettest.Packet) { p.UDP, p.TOS = true, 0xb9 })
		with("udp, 64 segments", 100, 6400, 64, false, func(p *vnettest.Packet) { p.UDP = true })
	}
	run := func(o vnet.Offloads) (results [][][]byte, supers int) {
		in, out := forwarding(t, o)
		defer in.Close()
		defer out.Close()
		w := newWriter(in)
		for _, r := range rows {
			if err := w.writeFrame([][]byte{r.super.Super(r.size, r.ecn)}); err != nil {
				t.Fatalf("%s: %v", r.name, err)
			}
			packets, n := received(t, out, r.segments)
			if o == everything && n != 1 {
				t.Errorf("%s: %d superpackets came out, want 1", r.name, n)
			}
			supers += n
			results = append(results, packets)
		}
		return results, supers
	}
	ours, _ := run(everything)
	kernels, supers := run(vnet.Offloads{})
	if supers != 0 {
		t.Errorf("%d superpackets of a kernel that was told to cut them", supers)
	}
	for i, r := range rows {
		compare(t, r.name, ours[i], kernels[i])
	}
}

// sumsOfZero makes the payload such that the sum of every segment is zero, of which
// UDP says that there is none (RFC 768).
func sumsOfZero(p *vnettest.Packet, size int) {
	for at := 0; at < len(p.Payload); at += size {
		s := *p
		s.Seq += uint32(at)
		s.Payload = p.Payload[at:min(at+size, len(p.Payload))]
		clear(s.Payload[:2])
		b := s.Bytes()
		check := b[len(b)-len(s.Payload)-4:] // TCP: before the urgent pointer
		if s.UDP {
			check = check[2:]
		}
		copy(s.Payload, check[:2])
	}
}

// compare reports the first packet that differs.
func compare(t *testing.T, name string, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d packets, want %d", name, len(got), len(want))
		return
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			show := func(p []byte) string { return hex.Dump(p[:min(len(p), 96)]) }
			t.Errorf("%s: packet %d of %d and %d bytes:\n%swant\n%s", name, i, len(got[i]), len(want[i]), show(got[i]), show(want[i]))
			return
		}
	}
}

// What we join the kernel takes, and cuts into what it was.
func TestJoinedIsWhatTheKernelCuts(t *testing.T) {
	flow := func(base vnettest.Packet, sizes ...int) (packets []vnettest.Packet) {
		for _, n := range sizes {
			base.Payload = payload(n)
			packets = append(packets, base)
			base.Seq += uint32(n)
			base.ID++
		}
		return packets
	}
	change := func(packets []vnettest.Packet, i int, f func(p *vnettest.Packet)) []vnettest.Packet {
		f(&packets[i])
		return packets
	}
	tcp4, tcp6 := vnettest.Packet{From: from4, To: to4, DF: true}, vnettest.Packet{From: from6, To: to6, FlowLabel: 5}
	udp4, udp6 := vnettest.Packet{From: from4, To: to4, UDP: true}, vnettest.Packet{From: from6, To: to6, UDP: true}
	optional := tcp4
	optional.Options, optional.TOS = timestamps, 2
	fragmentable := tcp4
	fragmentable.DF, fragmentable.ID = false, 65535
	for _, test := range []struct {
		name    string
		packets []vnettest.Packet
		frames  int
	}{
		{"tcp4", flow(tcp4, 1000, 1000, 1000, 500), 1},
		{"tcp4 that may be fragmented", flow(fragmentable, 1000, 1000, 1000), 1},
		{"tcp4, options and ECN", flow(optional, 1000, 1000, 999), 1},
		{"tcp4, PSH in the middle", change(flow(tcp4, 1000, 1000, 1000, 1000), 1, func(p *vnettest.Packet) { p.Flags = 0x18 }), 2},
		{"tcp4, FIN at the end", change(flow(tcp4, 1000, 1000, 1000), 2, func(p *vnettest.Packet) { p.Flags = 0x11 }), 1},
		{"tcp4, CWR at the start", change(flow(optional, 1000, 1000, 1000), 0, func(p *vnettest.Packet) { p.Flags = 0x90 }), 2},
		{"tcp4, wrong checksum alone", change(flow(tcp4, 1000), 0, func(p *vnettest.Packet) { p.WrongChecksum = true }), 1},
		{"tcp4, bytes", flow(tcp4, 1, 1, 1, 1, 1), 1},
		{"tcp6", flow(tcp6, 1000, 1000, 1000, 1), 1},
		{"tcp6, 60 KB", flow(tcp6, slices.Repeat([]int{1300}, 48)...), 1},
		{"tcp6, sequence wraps", flow(vnettest.Packet{From: from6, To: to6, Seq: 0xffffff00}, 1000, 1000), 1},
		{"udp4", flow(udp4, 1000, 1000, 999), 1},
		{"udp4, 64 datagrams", flow(udp4, slices.Repeat([]int{100}, 65)...), 2},
		{"udp4, growing", flow(udp4, 10, 20, 30), 3},
		{"udp4, no checksum", change(flow(udp4, 10, 10), 1, func(p *vnettest.Packet) { p.NoChecksum = true }), 2},
		{"udp4, a fragment", change(flow(udp4, 16, 16), 1, func(p *vnettest.Packet) { p.Fragment = 0x2000 }), 2},
		{"udp6", flow(udp6, 1001, 1001, 1001), 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			in, out := forwarding(t, vnet.Offloads{})
			w := newWriter(in)
			pass := func(o vnet.Offloads) (packets [][]byte, frames int) {
				c := vnet.NewCoalescer(func(frame [][]byte) error { frames++; return w.writeFrame(frame) }, o)
				for _, p := range test.packets {
					if err := c.Add(p.Bytes()); err != nil {
						t.Fatal(err)
					}
				}
				if err := c.Flush(); err != nil {
					t.Fatal(err)
				}
				packets, _ = received(t, out, len(test.packets))
				return packets, frames
			}
			alone, n := pass(vnet.Offloads{})
			if n != len(test.packets) {
				t.Fatalf("%d frames of packets alone, want %d", n, len(test.packets))
			}
			joined, n := pass(everything)
			if n != test.frames {
				t.Errorf("%d frames, want %d", n, test.frames)
			}
			if !vnettest.Equivalent(joined, alone) {
				compare(t, test.name, joined, alone)
			}
		})
	}
}

// A superpacket for a socket of this host arrives as the datagrams it was made of.
func TestSocketReceivesDatagrams(t *testing.T) {
	in, _ := forwarding(t, everything)
	for _, to := range []struct {
		from netip.AddrPort
		host string
	}{{from4, "100.96.0.254"}, {from6, "fd00:1::fe"}} {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(to.host), 0)))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		var sent [][]byte
		base := vnettest.Packet{From: to.from, To: conn.LocalAddr().(*net.UDPAddr).AddrPort(), UDP: true}
		for i := range 10 {
			base.Payload, base.ID = bytes.Repeat([]byte{byte(i)}, 100), uint16(i)
			if i == 9 {
				base.Payload = base.Payload[:3]
			}
			sent = append(sent, base.Bytes())
		}
		if n, err := in.Write(sent, 0); n != len(sent) || err != nil {
			t.Fatal(n, err)
		}
		conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		buf := make([]byte, 2000)
		for i := range 10 {
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("datagram %d: %v", i, err)
			}
			want := bytes.Repeat([]byte{byte(i)}, 100)
			if i == 9 {
				want = want[:3]
			}
			if !bytes.Equal(buf[:n], want) {
				t.Errorf("datagram %d: %x, want %x", i, buf[:n], want)
			}
		}
	}
	if c := in.Counters(); c != (Counters{}) {
		t.Errorf("counters %+v", c)
	}
}

// A superpacket of a socket of this host comes out whole, and is cut by us.
func TestSocketSendsSuperpackets(t *testing.T) {
	_, out := forwarding(t, everything)
	conn, err := net.Dial("udp", to4.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1000) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	data := payload(4500)
	if _, err := conn.Write(data); err != nil {
		t.Fatal(err)
	}
	frames := make([][]byte, 16)
	for got := []byte(nil); !bytes.Equal(got, data); {
		n, err := out.ReadFrames(frames)
		if err != nil {
			t.Fatalf("after %d bytes: %v", len(got), err)
		}
		for _, f := range frames[:n] {
			if !vnet.IsSuper(f) {
				continue
			}
			var s vnet.Segments
			if err := s.Reset(f); err != nil {
				t.Fatal(err)
			}
			for p, ok := s.Next(); ok; p, ok = s.Next() {
				if !vnettest.Valid(p) {
					t.Errorf("checksums of %x", p[:28])
				}
				got = append(got, p[28:]...)
			}
		}
	}
}
