package coordinator

import (
	"context"
	"net"
	"strconv"

	"connectrpc.com/connect"

	meshdv1 "meshd/coordinator/api/meshd/v1"
)

// AddClient implements the method of that name; see control.proto.
func (s *adminService) AddClient(ctx context.Context, r *meshdv1.AddClientRequest) (*meshdv1.AddClientResponse, error) {
	if len(r.GetWireguardKey()) != len(PublicKey{}) {
		return nil, invalid("a WireGuard key of %d bytes is none", len(r.GetWireguardKey()))
	}
	key := PublicKey(r.GetWireguardKey())
	resp := &meshdv1.AddClientResponse{}
	return resp, s.query(ctx, func(n *Network) error {
		if err := s.c.handle(AddPlain{Name: r.GetName(), WireGuard: key}); err != nil {
			return err
		}
		resp.Client = s.c.clientSettings(n.members[n.byWireGuard[key]])
		return nil
	})
}

// ClientConfig implements the method of that name; see control.proto.
func (s *adminService) ClientConfig(ctx context.Context, r *meshdv1.ClientConfigRequest) (*meshdv1.ClientConfigResponse, error) {
	resp := &meshdv1.ClientConfigResponse{}
	return resp, s.query(ctx, func(n *Network) error {
		m, err := n.Find(r.GetMember())
		if err != nil {
			return err
		}
		if !m.Plain {
			return Errorf(connect.CodeInvalidArgument, "meshd coordinator client list", "member %q runs meshd: it configures itself", m.Name)
		}
		resp.Client = s.c.clientSettings(m)
		return nil
	})
}

// clientSettings is what a plain member needs to take part.
func (c *Coordinator) clientSettings(m Member) *meshdv1.ClientSettings {
	settings := &meshdv1.ClientSettings{
		Member: infoRecord(m), HubKey: c.hubKey.PublicKey().Bytes(), Zone: c.zone,
		HubEndpoint: c.hostPort(c.relay.Addrs()[0].Port()),
	}
	if c.names.tcp != nil {
		at := c.names.tcp.Addr().(*net.TCPAddr).AddrPort()
		if settings.Dns = at.String(); at.Addr().IsUnspecified() {
			settings.Dns = c.hostPort(at.Port())
		}
	}
	for _, other := range c.network.Members() {
		if MaySee(m, other) {
			settings.Peers = append(settings.Peers, memberRecord(other))
		}
	}
	return settings
}

// hostPort is a port of this machine as others name it; empty: they can't.
func (c *Coordinator) hostPort(port uint16) string {
	if len(c.hosts) == 0 {
		return ""
	}
	return net.JoinHostPort(c.hosts[0], strconv.Itoa(int(port)))
}
