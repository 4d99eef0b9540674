package portmap

import (
	"fmt"
	"net/netip"
	"time"
)

// Lifetimes of mappings.
const (
	defaultLifetime = 7200 * time.Second // asked for: RFC 6886 §3.3 recommends it
	minLifetime     = 20 * time.Second   // what lasts shorter is not worth the asking
	maxLifetime     = 24 * time.Hour     // asked for and believed at most, so that renewals don't stop
)

// grant is what a gateway gave to us.
type grant struct {
	external netip.AddrPort
	lifetime time.Duration // 0: until removed
	pinhole  uint16        // UPnP's number of an IPv6 pinhole
	uptime   uptime
}

// uptime is a gateway's epoch: how long it has known its mappings. UPnP has none.
type uptime struct {
	known   bool
	seconds uint32
}

// usable says why a grant is of no use: a gateway without an address of its own
// grants mappings too.
func (g grant) usable() error {
	switch {
	case !reachable(g.external.Addr()):
		return refuse("the gateway says its outside address is %v", g.external.Addr())
	case g.external.Port() == 0:
		return refuse("the gateway granted port 0")
	case g.lifetime != 0 && g.lifetime < minLifetime:
		return refuse("the gateway grants %v only", g.lifetime)
	}
	return nil
}

// refusal is a gateway's answer that it won't, as against no answer.
type refusal struct {
	reason string
	wait   time.Duration // until it may be asked again; 0: it did not say
}

func (r *refusal) Error() string { return r.reason }

func refuse(format string, args ...any) *refusal {
	return &refusal{reason: fmt.Sprintf(format, args...)}
}

// finding is what checking a mapping showed.
type finding struct {
	lost   bool   // the gateway no longer has it, or has another address now
	uptime uptime // tells the same by its course
}
