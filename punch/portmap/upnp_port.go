package portmap

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"time"

	"github.com/huin/goupnp"
	"github.com/huin/goupnp/dcps/internetgateway2"
)

// description is what people see in their router's list of mappings.
const description = "meshd"

// maxTries bounds how many outside ports are tried, and leases of other lengths.
const maxTries = 6

// portForwarder is a [client] for port mappings by UPnP.
type portForwarder struct {
	target
	services []connection // found by probe
}

func (c *portForwarder) probe(ctx context.Context) error {
	return findDevice(ctx, c.gateway, func(root *goupnp.RootDevice, u *url.URL) error {
		list := connections(root, u)
		if len(list) == 0 {
			return fmt.Errorf("device %.60q forwards no ports", root.Device.FriendlyName)
		}
		for _, s := range list {
			equip(s.GetServiceClient(), c.gateway)
		}
		c.services = list
		return nil
	})
}

// ask uses the first connection that has an outside address, a public one before
// others: gateways list lines that they don't use.
func (c *portForwarder) ask(ctx context.Context, before grant) (grant, error) {
	var best connection
	var outside netip.Addr
	reason := error(refuse("no WAN connection"))
	for _, s := range c.services {
		addr, err := address(ctx, s)
		switch {
		case err != nil:
			reason = err
		case !reachable(addr):
			reason = refuse("the gateway says its outside address is %v", addr)
		case best == nil || Public(addr) && !Public(outside):
			best, outside = s, addr
		}
	}
	if best == nil {
		return grant{}, reason
	}
	c.prefer(best)
	return c.forward(ctx, best, outside, before)
}

// prefer makes s the service that check and remove go to.
func (c *portForwarder) prefer(s connection) {
	list := []connection{s}
	for _, other := range c.services {
		if other != s {
			list = append(list, other)
		}
	}
	c.services = list
}

func address(ctx context.Context, s connection) (netip.Addr, error) {
	text, err := s.GetExternalIPAddressCtx(ctx)
	if err != nil {
		return netip.Addr{}, upnpError(err)
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || !addr.Is4() {
		return netip.Addr{}, refuse("the gateway says its outside address is %.60q", text)
	}
	return addr, nil
}

// forward maps a port: the one before, or our own number, or, when somebody else
// has that, any other. Gateways that know no leases get a permanent mapping.
func (c *portForwarder) forward(ctx context.Context, s connection, outside netip.Addr, before grant) (grant, error) {
	port, lease := c.port, c.lifetime
	if before.external.IsValid() {
		port = before.external.Port()
		if before.lifetime == 0 {
			lease = 0
		}
	}
	var err error
	for range maxTries {
		err = s.AddPortMappingCtx(ctx, "", port, "UDP", c.port, c.gateway.Local.String(), true, description, uint32(lease/time.Second))
		code := upnpCode(err)
		switch {
		case err == nil:
			return grant{external: netip.AddrPortFrom(outside, port), lifetime: lease}, nil
		case code == upnpConflict || code == upnpOtherMechanism:
			if free, ok := c.any(ctx, s, port, lease); ok {
				return grant{external: netip.AddrPortFrom(outside, free), lifetime: lease}, nil
			}
			port = otherPort()
		case lease != 0 && (code == upnpPermanentOnly || code == upnpInvalidArgs || code == upnpActionFailed):
			lease = 0
		default:
			return grant{}, upnpError(err)
		}
	}
	return grant{}, upnpError(err)
}

// any lets the gateway pick the port, which IGD 2 can.
func (c *portForwarder) any(ctx context.Context, s connection, port uint16, lease time.Duration) (uint16, bool) {
	ip2, ok := s.(*internetgateway2.WANIPConnection2)
	if !ok {
		return 0, false
	}
	free, err := ip2.AddAnyPortMappingCtx(ctx, "", port, "UDP", c.port, c.gateway.Local.String(), true, description, uint32(lease/time.Second))
	return free, err == nil
}

// otherPort draws from the ports that gateways forward: none of those of services.
func otherPort() uint16 { return uint16(1024 + rand.N(65536-1024)) }

// check reads the mapping back. A gateway that can't tell is believed to have it.
func (c *portForwarder) check(ctx context.Context, g grant) (finding, error) {
	if len(c.services) == 0 {
		return finding{}, errors.New("no WAN connection")
	}
	addr, err := address(ctx, c.services[0])
	if err != nil {
		return finding{}, err
	}
	port, client, _, _, _, err := c.services[0].GetSpecificPortMappingEntryCtx(ctx, "", g.external.Port(), "UDP")
	switch {
	case upnpCode(err) == upnpNoSuchEntry:
		return finding{lost: true}, nil
	case err != nil:
		return finding{}, upnpError(err)
	}
	return finding{lost: addr != g.external.Addr() || port != c.port || client != c.gateway.Local.String()}, nil
}

// remove never guesses: another host may have the port that we would have liked.
func (c *portForwarder) remove(ctx context.Context, g grant) error {
	if len(c.services) == 0 || !g.external.IsValid() {
		return nil
	}
	return upnpError(c.services[0].DeletePortMappingCtx(ctx, "", g.external.Port(), "UDP"))
}
