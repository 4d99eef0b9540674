//go:build !linux

package relay

import "net"

// boundUnsent does nothing: the kernel decides how much it buffers.
func boundUnsent(net.Conn) {}
