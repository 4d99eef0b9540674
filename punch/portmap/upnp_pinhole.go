package portmap

import (
	"context"
	"errors"
	"net/netip"
	"net/url"

	"github.com/huin/goupnp"
	"github.com/huin/goupnp/dcps/internetgateway2"
)

// pinholer is a [client] for IPv6 pinholes by UPnP (WANIPv6FirewallControl:1). It
// speaks IPv6 with the gateway, which opens pinholes only to who asks for them.
type pinholer struct {
	target
	service *internetgateway2.WANIPv6FirewallControl1 // found by probe
}

func (c *pinholer) probe(ctx context.Context) error {
	return findDevice(ctx, c.gateway, func(root *goupnp.RootDevice, u *url.URL) error {
		s, err := pinholes(root, u)
		if err != nil {
			return err
		}
		equip(s.GetServiceClient(), c.gateway)
		c.service = s
		return nil
	})
}

// ask adds the pinhole, also to renew it: the same one again is the same one.
func (c *pinholer) ask(ctx context.Context, _ grant) (grant, error) {
	if c.service == nil {
		return grant{}, errors.New("no firewall control")
	}
	id, err := c.service.AddPinholeCtx(ctx, "", 0, c.gateway.Local.String(), c.port, protocolUDP, c.seconds())
	if err != nil {
		return grant{}, upnpError(err)
	}
	return grant{external: netip.AddrPortFrom(c.gateway.Local, c.port), lifetime: c.lifetime, pinhole: id}, nil
}

func (c *pinholer) check(ctx context.Context, g grant) (finding, error) {
	if c.service == nil {
		return finding{}, errors.New("no firewall control")
	}
	_, err := c.service.GetPinholePacketsCtx(ctx, g.pinhole)
	if upnpCode(err) == upnpNoSuchPinhole {
		return finding{lost: true}, nil
	}
	return finding{}, upnpError(err)
}

func (c *pinholer) remove(ctx context.Context, g grant) error {
	if c.service == nil || !g.external.IsValid() {
		return nil
	}
	return upnpError(c.service.DeletePinholeCtx(ctx, g.pinhole))
}
