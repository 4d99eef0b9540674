package wire

import (
	"encoding/binary"
	"net/netip"
)

// addrSize is an address and port on the wire: 16 bytes of address (IPv4 mapped
// into IPv6) and 2 of port. All zero means absent.
const addrSize = 18

func appendAddr(b []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return append(b, make([]byte, addrSize)...)
	}
	ip := a.Addr().As16()
	return binary.BigEndian.AppendUint16(append(b, ip[:]...), a.Port())
}

// readAddr reads addrSize bytes. IPv4-mapped addresses come back as IPv4, so
// that one address has one value.
func readAddr(b []byte) netip.AddrPort {
	ip := netip.AddrFrom16([16]byte(b[:16])).Unmap()
	port := binary.BigEndian.Uint16(b[16:addrSize])
	if port == 0 && ip.IsUnspecified() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ip, port)
}
