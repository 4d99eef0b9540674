package punch

import (
	"net/netip"
	"time"
)

// Birthday searches for one pair of NATs: the entries that one leaves behind in
// the seeker's have timed out long before the next.
const (
	searchGap    = 10 * time.Minute // after the first; doubled with each failure up to …
	searchGapMax = 6 * time.Hour
	holderSlack  = time.Minute // of a holder, who counts from a little later
)

// nats are the public addresses of the two ends.
type nats struct{ mine, its netip.Addr }

// budget keeps birthday searches rare. The zero value allows one.
type budget struct {
	between  nats
	last     time.Time
	failures int
}

// next is when another search between these NATs may be made; zero: now.
func (b *budget) next(between nats) time.Time {
	if b.last.IsZero() || b.between != between {
		return time.Time{}
	}
	return b.last.Add(min(searchGap<<min(max(b.failures-1, 0), 16), searchGapMax))
}

// spend notes that a search begins.
func (b *budget) spend(now time.Time, between nats) {
	if b.between != between {
		b.failures = 0
	}
	b.between, b.last = between, now
	b.failures++ // until it succeeds
}

// succeed notes that it found a path.
func (b *budget) succeed() { b.failures = 0 }
