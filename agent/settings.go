package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"meshd/agent/localapi"
)

// Modes of port mapping.
const (
	portMappingAuto = "auto"
	portMappingOff  = "off"
)

// Modes of names, by which `meshd up --dns` asks for them.
const (
	dnsAuto = "auto"
	dnsOff  = "off"
)

// Modes of finding members on the LAN by multicast DNS.
const (
	mdnsAuto = "auto"
	mdnsOff  = "off"
)

// maxAdvertise leaves room for the addresses that the agent finds by itself.
const maxAdvertise = 8

func (c Config) checkSettings() error {
	if m := c.PortMapping; m != "" && m != portMappingAuto && m != portMappingOff {
		return localapi.WithHint(fmt.Errorf("port mapping %q is unknown", m), "use auto or off")
	}
	if m := c.DNS; m != "" && m != dnsAuto && m != dnsOff {
		return localapi.WithHint(fmt.Errorf("dns mode %q is unknown", m), "use auto or off")
	}
	if m := c.MDNS; m != "" && m != mdnsAuto && m != mdnsOff {
		return localapi.WithHint(fmt.Errorf("mdns mode %q is unknown", m), "use auto or off")
	}
	if err := c.checkRelaying(); err != nil {
		return err
	}
	if n := len(c.Advertise); n > maxAdvertise {
		return localapi.WithHint(fmt.Errorf("%d endpoints to advertise: at most %d can be", n, maxAdvertise), "name those that others reach best")
	}
	return nil
}

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

// keepSettings makes what the command line said what later starts do.
func (l *loop) keepSettings() {
	before := l.state
	if l.cfg.PortMapping != "" {
		l.state.PortMapping = l.cfg.PortMapping
	}
	if l.cfg.DNS != "" {
		l.state.DNS = l.cfg.DNS
	}
	if l.cfg.MDNS != "" {
		l.state.MDNS = l.cfg.MDNS
	}
	relaying := l.keepRelaying()
	if l.cfg.Advertise != nil {
		l.state.Advertise = l.cfg.Advertise
	}
	if relaying || l.state.PortMapping != before.PortMapping || l.state.DNS != before.DNS || l.state.MDNS != before.MDNS || !slices.Equal(l.state.Advertise, before.Advertise) {
		l.saveState()
	}
}
