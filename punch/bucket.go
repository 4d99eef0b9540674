package punch

import (
	"sync/atomic"
	"time"
)

// bucketDepth is how much a bucket gives at once: what its rate gives in this time.
const bucketDepth = 100 * time.Millisecond

// bucket limits a rate without a lock (the generic cell rate algorithm of ITU-T
// I.371). The zero value is full.
type bucket struct {
	empty atomic.Int64 // when all that was taken has flowed in again, Unix nanoseconds
}

// take reports whether n are left at a rate per second, and takes them. What is
// larger than the bucket is given when the bucket is not empty. Who is urgent may
// have what flows in during the next bucketDepth.
func (b *bucket) take(now time.Time, n, rate int, urgent bool) bool {
	limit := now
	if urgent {
		limit = now.Add(bucketDepth)
	}
	for {
		old := b.empty.Load()
		from := max(old, now.UnixNano()-int64(bucketDepth))
		if from >= limit.UnixNano() {
			return false
		}
		next := from + int64(float64(n)/float64(rate)*float64(time.Second))
		if b.empty.CompareAndSwap(old, next) {
			return true
		}
	}
}
