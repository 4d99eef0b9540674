//go:build !linux

package udp

import (
	"errors"
	"fmt"
)

// RawConn is for Linux, where the kernel can have the port.
type RawConn struct{ *Conn }

// ListenRaw fails: only Linux has a WireGuard that leaves its port to others too.
func ListenRaw(config Config) (*RawConn, error) {
	return nil, fmt.Errorf("listen raw on %v: %w", config.Addr, errors.ErrUnsupported)
}
