package coordinator

import (
	"encoding/binary"
	"net/netip"
)

// firstFree returns the lowest usable address of an IPv4 prefix that is not
// taken.
func firstFree(p netip.Prefix, taken func(netip.Addr) bool) (netip.Addr, bool) {
	for a := p.Masked().Addr(); p.Contains(a); a = a.Next() {
		if usable(p, a) && !taken(a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// usable leaves out what some host somewhere takes for a network's or a
// broadcast address, and the first address, which is the hub's own.
func usable(p netip.Prefix, a netip.Addr) bool {
	host := hostNumber(p, a)
	last := uint32(1)<<(32-p.Bits()) - 1
	octet := a.As4()[3]
	return host > 1 && host < last && octet != 0 && octet != 255
}

// addr6 returns the IPv6 address with the same host number as an IPv4 one.
func addr6(p6, p4 netip.Prefix, a netip.Addr) netip.Addr {
	b := p6.Masked().Addr().As16()
	binary.BigEndian.PutUint32(b[12:], hostNumber(p4, a))
	return netip.AddrFrom16(b)
}

func hostNumber(p netip.Prefix, a netip.Addr) uint32 {
	base, addr := p.Masked().Addr().As4(), a.As4()
	return binary.BigEndian.Uint32(addr[:]) - binary.BigEndian.Uint32(base[:])
}
