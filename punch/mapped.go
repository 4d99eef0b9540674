package punch

import (
	"net/netip"
	"slices"
	"time"
)

// SetMapped says at which outside addresses gateways let datagrams in to our
// port now, besides those of [Config.Advertise]. Peers are told at once. It may
// be called before Run, and never blocks.
func (e *Engine) SetMapped(addrs []netip.AddrPort) {
	list := slices.Clone(addrs)
	e.mapped.Store(&list)
	e.mux.nudge()
}

func (l *loop) setMapped(now time.Time, addrs []netip.AddrPort) {
	l.local.advertise = slices.Concat(l.config.Advertise, addrs)
	l.local.tell(now, 0)
}
