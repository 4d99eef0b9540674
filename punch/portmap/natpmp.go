package portmap

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	natpmp "github.com/jackpal/go-nat-pmp"
)

// natpmpClient is a [client] for NAT-PMP (RFC 6886).
type natpmpClient struct{ target }

func (c *natpmpClient) probe(ctx context.Context) error {
	_, _, err := c.address(ctx)
	return err
}

// check compares the address as well: RFC 6886 lets it change without a restart.
func (c *natpmpClient) check(ctx context.Context, g grant) (finding, error) {
	addr, up, err := c.address(ctx)
	return finding{lost: addr != g.external.Addr(), uptime: up}, err
}

func (c *natpmpClient) ask(ctx context.Context, before grant) (grant, error) {
	addr, _, err := c.address(ctx)
	if err != nil {
		return grant{}, err
	}
	want := c.port
	if before.external.IsValid() {
		want = before.external.Port()
	}
	m, err := c.dial(ctx).AddPortMapping("udp", int(c.port), int(want), int(c.seconds()))
	switch {
	case err != nil:
		return grant{}, natpmpError(err)
	case m.InternalPort != c.port:
		return grant{}, fmt.Errorf("answer for port %d, not %d", m.InternalPort, c.port)
	case m.PortMappingLifetimeInSeconds == 0:
		return grant{}, refuse("a mapping of no duration")
	}
	return grant{
		external: netip.AddrPortFrom(addr, m.MappedExternalPort),
		lifetime: time.Duration(m.PortMappingLifetimeInSeconds) * time.Second,
		uptime:   uptime{true, m.SecondsSinceStartOfEpoc},
	}, nil
}

func (c *natpmpClient) remove(ctx context.Context, _ grant) error {
	_, err := c.dial(ctx).AddPortMapping("udp", int(c.port), 0, 0)
	return natpmpError(err)
}

func (c *natpmpClient) address(ctx context.Context) (netip.Addr, uptime, error) {
	r, err := c.dial(ctx).GetExternalAddress()
	if err != nil {
		return netip.Addr{}, uptime{}, natpmpError(err)
	}
	return netip.AddrFrom4(r.ExternalIPAddress), uptime{true, r.SecondsSinceStartOfEpoc}, nil
}

// dial makes a client of the library, which knows no contexts: it gets a time in
// which it sends three times, or less if ctx ends sooner.
func (c *natpmpClient) dial(ctx context.Context) *natpmp.Client {
	timeout := probeTimeout
	if end, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(end))
	}
	if ctx.Err() != nil {
		timeout = 0
	}
	return natpmp.NewClientWithLocalAndTimeout(c.gateway.Addr.AsSlice(), c.gateway.Local.AsSlice(), max(timeout, time.Nanosecond))
}

// natpmpError tells refusals from silence. The library has words only: those of
// RFC 6886 §3.5 after a result code, and its own when PCP answered.
func natpmpError(err error) error {
	if err == nil {
		return nil
	}
	_, words, told := strings.Cut(err.Error(), "Non-zero result code ")
	if told {
		return refuse("result code %s", words)
	}
	if strings.Contains(err.Error(), "unknown protocol version") {
		return refuse("%v", err)
	}
	return err
}
