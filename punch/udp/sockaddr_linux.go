package udp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockaddr is a socket address as the kernel reads and writes it; IPv4's fits in.
type sockaddr unix.RawSockaddrInet6

func (s *sockaddr) pointer() unsafe.Pointer { return unsafe.Pointer(s) }

// same reports whether both are the same address; the flow label is no part of it.
func (s *sockaddr) same(t *sockaddr) bool {
	if s.Family != t.Family || s.Port != t.Port {
		return false
	}
	if s.Family == unix.AF_INET {
		return (*unix.RawSockaddrInet4)(s.pointer()).Addr == (*unix.RawSockaddrInet4)(t.pointer()).Addr
	}
	return s.Addr == t.Addr && s.Scope_id == t.Scope_id
}

// put writes addr and returns its length. The address must be of the socket's
// family.
func (s *sockaddr) put(addr netip.AddrPort) (uint32, error) {
	port := (*[2]byte)(unsafe.Pointer(&s.Port)) // same place in both families
	binary.BigEndian.PutUint16(port[:], addr.Port())
	ip := addr.Addr()
	if ip.Is4() {
		s4 := (*unix.RawSockaddrInet4)(s.pointer())
		s4.Family, s4.Addr = unix.AF_INET, ip.As4()
		return unix.SizeofSockaddrInet4, nil
	}
	s.Family, s.Addr, s.Flowinfo, s.Scope_id = unix.AF_INET6, ip.As16(), 0, 0
	if zone := ip.Zone(); zone != "" {
		index, err := zones.index(zone)
		if err != nil {
			return 0, err
		}
		s.Scope_id = index
	}
	return unix.SizeofSockaddrInet6, nil
}

// get returns the address.
func (s *sockaddr) get() netip.AddrPort {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&s.Port))[:])
	if s.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(s.pointer()).Addr), port)
	}
	ip := netip.AddrFrom16(s.Addr).Unmap()
	if s.Scope_id != 0 {
		ip = ip.WithZone(zones.name(s.Scope_id))
	}
	return netip.AddrPortFrom(ip, port)
}
