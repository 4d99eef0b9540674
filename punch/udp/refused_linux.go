package udp

import (
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// refusedFor is how long a destination gets no bundles after refusing one. Its
	// route may have changed then; finding out costs one failed call.
	refusedFor = 30 * time.Second
	// maxRefused bounds the destinations remembered.
	maxRefused = 1024
)

// refusals are the destinations that bundles can't reach, with the time until
// which that is believed. Looking costs one atomic load while there are none.
type refusals struct {
	mu    sync.Mutex // serializes add
	until atomic.Pointer[map[netip.Addr]time.Time]
}

func (r *refusals) has(to netip.Addr) bool {
	m := r.until.Load()
	if m == nil {
		return false
	}
	until, ok := (*m)[to]
	return ok && time.Now().Before(until)
}

func (r *refusals) add(to netip.Addr, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := map[netip.Addr]time.Time{}
	if m := r.until.Load(); m != nil && len(*m) < maxRefused {
		next = maps.Clone(*m)
		maps.DeleteFunc(next, func(_ netip.Addr, until time.Time) bool { return !now.Before(until) })
	}
	next[to] = now.Add(refusedFor)
	r.until.Store(&next)
}

// bundles reports whether datagrams to a destination leave in bundles.
func (c *Conn) bundles(to netip.Addr) bool { return c.gso && !c.refused.has(to) }

// refuse learns from an error that a bundle met, and reports whether its
// datagrams are worth sending one by one.
func (c *Conn) refuse(to netip.Addr, err error) bool {
	switch err {
	case unix.EIO, // no checksum offload on this way out; another may have it
		unix.EMSGSIZE, unix.EINVAL: // segments above the MTU; older kernels say EINVAL
		c.refused.add(to, time.Now())
	default:
		return false
	}
	return true
}
