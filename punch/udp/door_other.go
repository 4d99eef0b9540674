//go:build !linux

package udp

import (
	"errors"
	"net/netip"
)

// Door is for Linux, where packets can be heard before the firewall drops them.
type Door struct{}

// OpenDoor fails.
func OpenDoor(local netip.AddrPort) (*Door, error) {
	if err := doorOff(local); err != nil {
		return nil, err
	}
	return nil, doorError(local, errors.ErrUnsupported)
}

// Read never has anything.
func (*Door) Read([]byte) (int, netip.AddrPort, error) {
	return 0, netip.AddrPort{}, errors.ErrUnsupported
}

// Close does nothing.
func (*Door) Close() error { return nil }
