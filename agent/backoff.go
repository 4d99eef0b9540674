package agent

import (
	"math/rand/v2"
	"time"
)

const (
	backoffFirst = 500 * time.Millisecond
	backoffMost  = 30 * time.Second // a hub that comes back is noticed within this
)

// backoff spaces attempts: each wait is twice the one before, and within a half
// around that at random, so that the members of a mesh do not come back as one.
// The zero value is ready.
type backoff struct{ wait time.Duration }

func (b *backoff) next() time.Duration {
	b.wait = min(max(2*b.wait, backoffFirst), backoffMost)
	return b.wait/2 + rand.N(b.wait/2+1)
}

func (b *backoff) reset() { b.wait = 0 }
