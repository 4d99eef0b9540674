package nattest

import (
	"fmt"
	"net/netip"
	"os"
	"syscall"
)

// Door hears everything that comes to a port of a [Host] before the firewall does. It
// has the methods of a real one of package punch/udp.
type Door struct{ *Socket }

// OpenDoor opens a door to a port, at all addresses of the family.
func (h *Host) OpenDoor(local netip.AddrPort) (Door, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	at := netip.AddrPortFrom(unspecified(local.Addr()), local.Port())
	if h.doors[at] != nil {
		return Door{}, fmt.Errorf("open a door to %v: %w", at, os.NewSyscallError("bind", syscall.EADDRINUSE))
	}
	d := Door{newSocket(h, at)}
	h.doors[at] = d.Socket
	return d, nil
}

// Read waits for a datagram. After Close it fails with [net.ErrClosed].
func (d Door) Read(b []byte) (int, netip.AddrPort, error) {
	sizes, from := []int{0}, make([]netip.AddrPort, 1)
	_, err := d.Socket.Read([][]byte{b}, sizes, from)
	return sizes[0], from[0], err
}

// Close ends a blocked Read.
func (d Door) Close() error {
	h := d.host
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.doors[d.local] == d.Socket {
		delete(h.doors, d.local)
	}
	d.shut()
	return nil
}
