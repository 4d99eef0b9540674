package portmap

import (
	"context"
	"time"
)

// Deadlines of what is asked of a gateway. UPnP waits for answers that devices
// delay on purpose, and needs several connections for one thing.
const (
	probeTimeout  = time.Second
	askTimeout    = 2 * time.Second
	upnpTimeout   = 3 * time.Second
	removeTimeout = 2 * time.Second // of everything that is left to do in the end
)

// client speaks one protocol with one gateway about one port. An error is a
// *refusal when the gateway said no. Its methods are for one goroutine at a
// time, but for remove, which may come while check is under way.
type client interface {
	// probe returns nil if the gateway speaks the protocol.
	probe(ctx context.Context) error
	// ask gets a mapping, or renews the one before.
	ask(ctx context.Context, before grant) (grant, error)
	// check looks whether a mapping is still in force.
	check(ctx context.Context, g grant) (finding, error)
	// remove gives a mapping back; the zero grant is whatever there may be.
	remove(ctx context.Context, g grant) error
}

// target is what all clients of a site are about.
type target struct {
	gateway  Gateway
	port     uint16        // ours
	lifetime time.Duration // to ask for
}

// clients has one client for each protocol of the gateway's family.
func (t target) clients() map[Protocol]client {
	m := make(map[Protocol]client)
	for _, p := range t.gateway.protocols() {
		switch {
		case p == PCP:
			m[p] = newPCP(t)
		case p == NATPMP:
			m[p] = &natpmpClient{t}
		case t.gateway.Addr.Is4():
			m[p] = &portForwarder{target: t}
		default:
			m[p] = &pinholer{target: t}
		}
	}
	return m
}

// seconds is the lifetime as the protocols write it.
func (t target) seconds() uint32 { return uint32(t.lifetime / time.Second) }
