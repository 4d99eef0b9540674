package dnssd

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

// What a stranger may ask before it is not heard: burst questions at once, then
// rate a second.
const (
	strangerRate  = 20
	strangerBurst = 60
)

// limiter holds strangers to a rate. Its memory is fixed, so that forged sources
// can't fill it; sources that share a slot share their rate. It works without
// locks (the generic cell rate algorithm: a slot is the time at which its
// bucket will be full again).
type limiter struct {
	seed  maphash.Seed
	slots [4096]atomic.Int64 // nanoseconds
}

func newLimiter() *limiter { return &limiter{seed: maphash.MakeSeed()} }

// allow counts a question from src at now, and says whether to hear it. IPv6
// hosts are counted by /64.
func (l *limiter) allow(src netip.Addr, now time.Time) bool {
	src = src.Unmap().WithZone("")
	if src.Is6() {
		src = netip.PrefixFrom(src, 64).Masked().Addr()
	}
	raw := src.As16()
	slot := &l.slots[maphash.Bytes(l.seed, raw[:])%uint64(len(l.slots))]
	const cost = int64(time.Second) / strangerRate
	for {
		old, t := slot.Load(), now.UnixNano()
		next := max(old, t) + cost
		if next-t > strangerBurst*cost {
			return false
		}
		if slot.CompareAndSwap(old, next) {
			return true
		}
	}
}
