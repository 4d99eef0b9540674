package udp

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

const ip6Header = 40

// unwrap takes the headers of IP and UDP off a packet, and returns what is in it and its
// source. It reports false for what is no whole datagram, and, where the packet is
// summed, for one that does not fit its checksum.
func unwrap(p []byte, is4, summed bool) (content []byte, from netip.AddrPort, ok bool) {
	head := ip6Header
	if is4 {
		head = ip4Header
		if len(p) > 0 {
			head = max(head, int(p[0]&15)*4)
		}
	}
	if len(p) < head+udpHeader {
		return nil, netip.AddrPort{}, false
	}
	addrs := p[8:ip6Header] // source and destination
	if is4 {
		addrs = p[12:ip4Header]
	}
	d := p[head:]
	size := int(be16(d[4:]))
	if size < udpHeader || size > len(d) {
		return nil, netip.AddrPort{}, false
	}
	d = d[:size] // a short frame is padded
	source, _ := netip.AddrFromSlice(addrs[:len(addrs)/2])
	given := be16(d[6:])
	switch {
	case given == 0:
		ok = is4 || !summed // IPv4 may do without
	case summed:
		// Over all of it, with what is given, the sum is zero: one's complement's other one.
		ok = checksum(sum(sum(uint64(unix.IPPROTO_UDP+size), addrs), d)) == 0xffff
	default:
		ok = true
	}
	return d[udpHeader:], netip.AddrPortFrom(source, be16(d)), ok
}
