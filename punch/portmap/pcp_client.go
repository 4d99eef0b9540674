package portmap

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
)

// pcpPort is where gateways listen for PCP and NAT-PMP.
const pcpPort = 5351

// pcpClient is a [client] for PCP. Its nonce stays the same for all it asks of a
// gateway, so that it may change its mapping also after a gateway's restart.
type pcpClient struct {
	target
	nonce pcpNonce
}

func newPCP(t target) *pcpClient {
	c := &pcpClient{target: t}
	rand.Read(c.nonce[:])
	return c
}

// probe asks for the epoch. A server that knows no ANNOUNCE still is one.
func (c *pcpClient) probe(ctx context.Context) error {
	_, err := c.announce(ctx)
	return err
}

func (c *pcpClient) check(ctx context.Context, _ grant) (finding, error) {
	u, err := c.announce(ctx)
	return finding{uptime: u}, err
}

func (c *pcpClient) announce(ctx context.Context) (uptime, error) {
	r, err := c.exchange(ctx, appendPCPHeader(nil, pcpAnnounce, 0, c.gateway.Local))
	if err == nil && r.result != pcpSuccess && r.result != pcpUnsupportedOpcode {
		err = refuse("%v", r.result)
	}
	return uptime{true, r.epoch}, err
}

func (c *pcpClient) ask(ctx context.Context, before grant) (grant, error) {
	r, err := c.exchange(ctx, appendPCPMap(nil, c.lifetime, c.gateway.Local, c.wish(before)))
	if err != nil {
		return grant{}, err
	}
	if r.result != pcpSuccess {
		return grant{}, &refusal{reason: r.result.String(), wait: r.lifetime}
	}
	if r.lifetime == 0 {
		return grant{}, refuse("a mapping of no duration")
	}
	return grant{external: r.mapping.external, lifetime: r.lifetime, uptime: uptime{true, r.epoch}}, nil
}

func (c *pcpClient) remove(ctx context.Context, g grant) error {
	r, err := c.exchange(ctx, appendPCPMap(nil, 0, c.gateway.Local, c.wish(g)))
	if err == nil && r.result != pcpSuccess {
		err = refuse("%v", r.result)
	}
	return err
}

// wish is the mapping to be asked for: the one before, or our own port anywhere.
func (c *pcpClient) wish(before grant) pcpMapping {
	m := pcpMapping{nonce: c.nonce, internal: c.port, external: before.external}
	switch {
	case m.external.IsValid():
	case c.gateway.Local.Is4():
		m.external = netip.AddrPortFrom(netip.IPv4Unspecified(), c.port)
	default:
		m.external = netip.AddrPortFrom(c.gateway.Local, c.port)
	}
	return m
}

// exchange sends a request until it is answered. An answer in an older version
// is a server of NAT-PMP alone, which its own client speaks with (RFC 6887 §9).
func (c *pcpClient) exchange(ctx context.Context, request []byte) (pcpResponse, error) {
	var r pcpResponse
	err := exchange(ctx, c.gateway, pcpPort, request, func(b []byte) error {
		var err error
		if r, err = parsePCP(b); err != nil {
			if len(b) >= 4 && b[0] < pcpVersion && b[1]&pcpAnswer != 0 {
				return refuse("%v", err)
			}
			return err
		}
		return c.fits(request, r)
	})
	return r, err
}

// fits says why r is not the answer to a request of ours. Errors may come
// without what they are about.
func (c *pcpClient) fits(request []byte, r pcpResponse) error {
	switch {
	case r.opcode != request[1]:
		return fmt.Errorf("answer to opcode %d", r.opcode)
	case r.result == pcpUnsupportedVersion:
		return refuse("%v", r.result)
	case r.opcode != pcpMap || r.mapping == (pcpMapping{}):
		return nil
	case r.mapping.nonce != c.nonce || r.mapping.internal != c.port:
		return errors.New("answer to someone else")
	}
	return nil
}
