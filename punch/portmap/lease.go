package portmap

import "time"

// How often a gateway is asked whether it still has a mapping. PCP and NAT-PMP
// need one datagram each way for it, UPnP two connections.
const (
	checkEvery     = time.Minute
	checkEveryUPnP = 2 * time.Minute
)

// minRenew keeps a silent gateway from being asked ever faster as the end nears.
const minRenew = 10 * time.Second

// lease is a grant in force.
type lease struct {
	grant
	protocol Protocol
	expires  time.Time // zero: never
	renew    time.Time // zero: never
	check    time.Time
	checking bool
	lost     bool // the gateway forgot it
}

func newLease(now time.Time, p Protocol, g grant) *lease {
	l := &lease{grant: g, protocol: p}
	if life := min(g.lifetime, maxLifetime); life != 0 {
		l.expires = now.Add(life)
		l.renew = now.Add(life / 2)
	}
	l.checkLater(now)
	return l
}

func (l *lease) mapping() Mapping {
	return Mapping{External: l.external, Protocol: l.protocol, Expires: l.expires, Trusted: Public(l.external.Addr())}
}

func (l *lease) checkLater(now time.Time) {
	l.checking = false
	l.check = now.Add(checkEvery)
	if l.protocol == UPnP {
		l.check = now.Add(checkEveryUPnP)
	}
}

// renewLater halves the time that is left, after a renewal without an answer; a
// lease that is lost has no time.
func (l *lease) renewLater(now time.Time) {
	switch {
	case l.lost:
		l.renew = now.Add(minRenew)
	case !l.expires.IsZero():
		l.renew = now.Add(max(l.expires.Sub(now)/2, minRenew))
	}
}
