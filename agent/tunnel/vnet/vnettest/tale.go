package vnettest

import "net/netip"

// Tale reads packets of a few flows from b, TCP and UDP over both families: each
// byte or two is one packet, which mostly goes on where its flow was, and sometimes
// is unusual.
func Tale(b []byte, from4, to4, from6, to6 netip.AddrPort) (packets [][]byte) {
	flows := [4]Packet{
		{From: from4, To: to4, DF: true, Window: 9},
		{From: from6, To: to6, Window: 9},
		{From: from4, To: to4, UDP: true},
		{From: from6, To: to6, UDP: true},
	}
	for len(b) > 1 && len(packets) < 600 {
		f := &flows[b[0]&3]
		p := *f
		p.Payload = Payload(90 + int(b[0]>>2&1)*10)
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

// Payload returns n bytes that differ from their neighbours.
func Payload(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// change makes a packet unusual.
func change(p *Packet, how uint8) {
	switch how & 31 {
	case 0, 1, 2, 3, 4, 5, 6, 7:
		p.Flags = 0x10 | 1<<(how&7)
	case 8:
		p.Payload = nil
	case 9:
		p.Payload = Payload(int(how))
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
		Extend(p)
	case 18:
		p.IPOptions = []byte{1, 1, 1, 0}
	case 19:
		p.Fragment = 0x2000
	case 20:
		p.Options = []byte{1, 1, 1, how}
	case 21:
		p.From = netip.AddrPortFrom(p.From.Addr(), p.From.Port()^1)
	case 22:
		p.To = netip.AddrPortFrom(p.To.Addr().Next(), p.To.Port())
	case 23:
		p.FlowLabel++
	case 24:
		p.Payload = Payload(9000)
	case 25:
		p.WrongIPChecksum = true
	case 26:
		p.Urgent++
	}
}

// Extend gives an IPv6 packet an extension header of padding.
func Extend(p *Packet) { p.ExtensionHeaders = []byte{p.proto(), 0, 1, 4, 0, 0, 0, 0} }
