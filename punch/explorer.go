package punch

import (
	"context"
	"net/netip"
	"sync"
)

// explorer carries out discoveries beside the loop, one at a time.
type explorer struct {
	listen func(netip.AddrPort) (Socket, error)
	door   func(netip.AddrPort) (Door, error)
	found  chan Discovery
	cancel context.CancelFunc // of the running one
	task   sync.WaitGroup
}

func newExplorer(listen func(netip.AddrPort) (Socket, error), door func(netip.AddrPort) (Door, error)) *explorer {
	return &explorer{listen: listen, door: door, found: make(chan Discovery), cancel: func() {}}
}

// start begins a discovery, in place of a running one. What it finds comes by
// found, first what is known early.
func (e *explorer) start(c DiscoverConfig) {
	e.stop()
	c.Listen, c.OpenDoor = e.listen, e.door
	var ctx context.Context
	ctx, e.cancel = context.WithCancel(context.Background())
	tell := func(d Discovery) {
		select {
		case e.found <- d:
		case <-ctx.Done():
		}
	}
	c.Early = func(r Report) {
		if r.Mapped.Addr().Is4() {
			tell(Discovery{V4: &r})
		}
	}
	e.task.Go(func() { tell(Discover(ctx, c)) })
}

// stop ends a running discovery, and waits for its end.
func (e *explorer) stop() {
	e.cancel()
	e.task.Wait()
}
