package relay

import (
	"hash/maphash"
	"net/netip"
	"time"

	"golang.org/x/time/rate"
)

const (
	// stunRate and stunBurst bound STUN responses to one source a second. An agent
	// that looks closely at its NAT asks some 40 times at once, and several may
	// share an address.
	stunRate, stunBurst = 50, 200
	// resetRate and resetBurst bound RESETs in all. After a restart of the relay
	// each member needs one.
	resetRate, resetBurst = 1000, 1000

	sourceBuckets = 1024
)

// sourceLimit limits the rate by source, in memory that never grows: sources are
// hashed into a fixed number of buckets. The hash is seeded, so that nobody can
// choose whom to share a bucket with.
type sourceLimit struct {
	seed    maphash.Seed
	buckets [sourceBuckets]*rate.Limiter
}

func newSourceLimit(perSecond rate.Limit, burst int) *sourceLimit {
	l := &sourceLimit{seed: maphash.MakeSeed()}
	for i := range l.buckets {
		l.buckets[i] = rate.NewLimiter(perSecond, burst)
	}
	return l
}

// allow reports whether one more is within src's limit. The addresses of an IPv6
// /64 are one source.
func (l *sourceLimit) allow(now time.Time, src netip.Addr) bool {
	if src.Is6() {
		p, _ := src.Prefix(64) // 64 bits are never too many for IPv6
		src = p.Addr()
	}
	return l.buckets[maphash.Comparable(l.seed, src)%sourceBuckets].AllowN(now, 1)
}
