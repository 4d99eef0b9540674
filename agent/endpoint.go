package agent

import (
	"fmt"
	"net/netip"
	"strings"
)

// ParseEndpoint reads ADDR:PORT at which this machine is reached from outside,
// by a port that its owner forwards. Every error names s.
func ParseEndpoint(s string) (netip.AddrPort, error) {
	e, err := netip.ParseAddrPort(s)
	a := e.Addr().Unmap()
	switch {
	case err != nil && strings.ContainsAny(s, "ghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ"):
		return e, fmt.Errorf("endpoint %q: want an IP address and a port, not a name: 203.0.113.9:41641 or [2001:db8::9]:41641", s)
	case err != nil:
		return e, fmt.Errorf("endpoint %q: want an IP address and a port: 203.0.113.9:41641 or [2001:db8::9]:41641", s)
	case e.Port() == 0:
		return e, fmt.Errorf("endpoint %q: port 0 is none", s)
	case !a.IsGlobalUnicast() || a.Zone() != "" || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return e, fmt.Errorf("endpoint %q: nobody else can reach this machine at %s", s, e.Addr())
	}
	return netip.AddrPortFrom(a, e.Port()), nil
}
