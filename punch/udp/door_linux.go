package udp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// doorDatagram is the longest packet that a Door takes: any probe or STUN message
	// on Ethernet. What a card merged of several is longer, or makes no sense.
	doorDatagram = 2048
	// doorBuffer is the kernel's, in bytes: a hundred probes.
	doorBuffer = 128 << 10
)

// Door hears what comes to a UDP port before the host's own firewall does: probes, and
// answers of STUN servers. Most firewalls let in only what belongs to something that the
// host began. They drop the first probe of a peer, but not what follows on our answer.
//
//	network ──┬──────────────────► firewall ──► socket of the port ──► Read
//	          └ filter: probes ──► Door ──► Read
//
// What the firewall does let in comes by both, so each datagram may be read twice. So may
// one that the host only passes on come here: what is in it tells whose it is. None of
// WireGuard's does, and nothing that the host sends is looked at. It is safe for concurrent
// use; Reads take turns.
type Door struct {
	file *os.File
	raw  syscall.RawConn
	is4  bool
	try  func(fd uintptr) bool // built once, so that no Read allocates

	mu      sync.Mutex // held by the one Read under way; guards everything below
	packet  [doorDatagram]byte
	control [8]uint64
	from    unix.RawSockaddrLinklayer
	got     int
	summed  bool // the packet has a checksum
	errno   unix.Errno
}

// OpenDoor opens a door to a port of one family, and of all addresses. It needs
// CAP_NET_RAW.
func OpenDoor(local netip.AddrPort) (*Door, error) {
	if err := doorOff(local); err != nil {
		return nil, err
	}
	is4 := local.Addr().Unmap().Is4()
	// Of no protocol yet it hears nothing that the filter has not seen.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, doorError(local, err)
	}
	if err := setDoor(fd, local.Port(), is4); err != nil {
		unix.Close(fd)
		return nil, doorError(local, err)
	}
	d := &Door{file: os.NewFile(uintptr(fd), "door"), is4: is4}
	if d.raw, err = d.file.SyscallConn(); err != nil {
		d.file.Close()
		return nil, doorError(local, err)
	}
	d.try = d.tryReceive
	return d, nil
}

// setDoor binds to one protocol: who listens to all of them is also given a copy of
// everything that leaves.
func setDoor(fd int, port uint16, is4 bool) error {
	protocol := uint16(unix.ETH_P_IPV6)
	if is4 {
		protocol = unix.ETH_P_IP
	}
	network := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol))
	setBuffer(fd, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, doorBuffer)
	if err := attachFilter(fd, doorFilter(port, is4)); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		return fmt.Errorf("have checksums told: %w", err)
	}
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: network})
}

// Close closes the door. A Read under way ends with net.ErrClosed. Closing again does
// nothing.
func (d *Door) Close() error {
	if err := d.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// Read waits for a datagram, copies its content to b, and returns its length and source.
// What the host would refuse for a wrong checksum is passed over. After Close it returns
// net.ErrClosed.
func (d *Door) Read(b []byte) (int, netip.AddrPort, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		if err := d.raw.Read(d.try); err != nil {
			return 0, netip.AddrPort{}, net.ErrClosed
		}
		if d.errno != 0 {
			return 0, netip.AddrPort{}, fmt.Errorf("receive: %w", d.errno)
		}
		content, from, ok := unwrap(d.packet[:d.got], d.is4, d.summed)
		if !ok || len(content) > len(b) {
			continue
		}
		if ip := from.Addr(); ip.Is6() && ip.IsLinkLocalUnicast() {
			from = netip.AddrPortFrom(ip.WithZone(zones.name(uint32(d.from.Ifindex))), from.Port())
		}
		return copy(b, content), from, nil
	}
}

// tryReceive is called by the netpoller; false means wait.
func (d *Door) tryReceive(fd uintptr) bool {
	iov := unix.Iovec{Base: &d.packet[0]}
	iov.SetLen(len(d.packet))
	m := unix.Msghdr{Name: (*byte)(unsafe.Pointer(&d.from)), Namelen: unix.SizeofSockaddrLinklayer, Iov: &iov, Control: (*byte)(unsafe.Pointer(&d.control))}
	m.SetIovlen(1)
	m.SetControllen(int(unsafe.Sizeof(d.control)))
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&m)), unix.MSG_DONTWAIT)
		switch {
		case errno == 0:
			d.got, d.errno, d.summed = int(n), 0, isSummed(&d.control, int(m.Controllen))
			return true
		case errno == unix.EAGAIN:
			return false
		case errno != unix.EINTR:
			d.errno = errno
			return true
		}
	}
}

// isSummed reports whether a packet has its checksum. That of one which never left this
// machine, from a container or a virtual one, may be left to be computed.
func isSummed(control *[8]uint64, length int) bool {
	h := (*unix.Cmsghdr)(unsafe.Pointer(control))
	if length < unix.CmsgLen(int(unsafe.Sizeof(unix.TpacketAuxdata{}))) || h.Level != unix.SOL_PACKET || h.Type != unix.PACKET_AUXDATA {
		return true
	}
	aux := (*unix.TpacketAuxdata)(unsafe.Add(unsafe.Pointer(control), unix.CmsgLen(0)))
	return aux.Status&unix.TP_STATUS_CSUMNOTREADY == 0
}
