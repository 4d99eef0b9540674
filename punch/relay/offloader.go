package relay

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"meshd/punch/relay/inkernel"
	"meshd/punch/wire"
)

// kernel is what forwards in our place: an [inkernel.Table].
type kernel interface {
	Limit(id uint32, rate, burst uint64) error
	Install(f inkernel.Flow, in inkernel.Path, e inkernel.Exit, out inkernel.Path) error
	Remove(f inkernel.Flow) inkernel.Count
	Count(f inkernel.Flow) inkernel.Count
	Close()
}

// offloader carries out what offload decides. Where its lock and the handler's are
// both needed, the handler's comes first: what ends a session ends its flows in the
// kernel before anybody is told.
type offloader struct {
	handler *handler
	sockets []netip.AddrPort
	pathTo  func(to, from netip.Addr) (inkernel.Path, error)
	log     *slog.Logger
	wake    chan struct{} // capacity 1: a flow is busy

	reports sync.Mutex // guards following
	busy    []flow

	mu      sync.Mutex // guards following
	closed  bool
	kernel  kernel
	offload offload
	placed  map[flow]placed
	total   inkernel.Count // of flows that are not installed any more
}

// placed is how a flow was given to the kernel, and what it had forwarded when its
// sender's bucket was last charged.
type placed struct {
	flow    inkernel.Flow
	in, out inkernel.Path
	charged uint64
}

func newOffloader(h *handler, sockets []netip.AddrPort, k kernel, log *slog.Logger) *offloader {
	return &offloader{
		handler: h, sockets: sockets, pathTo: inkernel.PathTo, log: log, kernel: k, wake: make(chan struct{}, 1),
		offload: offload{most: inkernel.MaxFlows, flows: map[flow]*offloaded{}}, placed: map[flow]placed{},
	}
}

// run reviews what the kernel forwards until ctx ends: once a second as long as there
// is something, and when a flow is busy.
func (o *offloader) run(ctx context.Context, now func() time.Time) {
	tick := time.NewTimer(reviewTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.wake:
		case <-tick.C:
		}
		if o.review(now()) {
			tick.Reset(reviewTime)
		}
	}
}

// report takes flows that a forwarder found busy. It never waits for the kernel.
func (o *offloader) report(busy []flow) {
	if len(busy) == 0 {
		return
	}
	o.reports.Lock()
	o.busy = append(o.busy[:min(len(o.busy), maxMetered)], busy...)
	o.reports.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// review brings the kernel up to date: first what it is to lose, then what it is to
// get, and what is to take another path. Routes are asked for without a lock, so that
// what is installed is looked up once more. It reports whether the kernel has any.
func (o *offloader) review(now time.Time) bool {
	o.reports.Lock()
	busy := o.busy
	o.busy = nil
	o.reports.Unlock()

	wanted := o.prune(now, busy)
	paths := map[leg]inkernel.Path{}
	for f, p := range wanted {
		for _, l := range []leg{f.from, p.to} {
			if _, known := paths[l]; !known {
				paths[l] = o.path(l)
			}
		}
	}
	for f, p := range wanted {
		o.place(now, f, p, paths[f.from], paths[p.to])
	}
	return len(wanted) > 0
}

// path is how the host reaches what is at the end of a leg; zero: not by a card.
func (o *offloader) path(l leg) inkernel.Path {
	p, err := o.pathTo(l.addr.Addr(), o.sockets[l.socket].Addr())
	if err != nil && !errors.Is(err, inkernel.ErrNoPath) {
		o.log.Debug("relay offload: no path", "addr", l.addr, "err", err)
	}
	return p
}

// prune removes what the kernel is to lose, and returns all that it is to have.
func (o *offloader) prune(now time.Time, busy []flow) map[flow]passage {
	o.handler.mu.RLock()
	defer o.handler.mu.RUnlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	lookup := func(f flow) (passage, bool) { return o.handler.passage(now, f) }
	remove, install := o.offload.review(now, busy, func(f flow) uint64 { return o.charge(now, f) }, lookup)
	for _, f := range remove {
		o.remove(f)
	}
	wanted := make(map[flow]passage, len(o.offload.flows)+len(install))
	for f, e := range o.offload.flows {
		wanted[f] = e.passage
	}
	for _, f := range install {
		wanted[f], _ = lookup(f)
	}
	return wanted
}

// charge takes what the kernel has forwarded of a flow from its sender's bucket here,
// so that both together let through what one would. It returns how much that was.
func (o *offloader) charge(now time.Time, f flow) uint64 {
	p := o.placed[f]
	n := o.kernel.Count(p.flow).Bytes
	if limit := o.handler.table.limit(o.offload.flows[f].id); limit != nil {
		for left := int(n - p.charged); left > 0; left -= limit.Burst() {
			limit.ReserveN(now, min(left, limit.Burst()))
		}
	}
	p.charged = n
	o.placed[f] = p
	return n
}

// place installs a flow, if it is still to be forwarded in that way, and not yet.
func (o *offloader) place(now time.Time, f flow, want passage, in, out inkernel.Path) {
	o.handler.mu.RLock()
	defer o.handler.mu.RUnlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	old := o.placed[f]
	if o.offload.flows[f] != nil && old.in == in && old.out == out {
		return
	}
	o.remove(f)
	p, ok := o.handler.passage(now, f)
	if o.closed || !ok || p != want || in.Interface == 0 || out.Interface == 0 {
		return
	}
	k := inkernel.Flow{From: f.from.addr, At: o.local(f.from, in)}
	binary.BigEndian.PutUint64(k.Head[:], f.head)
	e := inkernel.Exit{From: o.local(p.to, out), To: p.to.addr}
	var err error
	if limit := o.handler.table.limit(p.id); limit != nil {
		e.Limit = uint32(p.id)
		err = o.kernel.Limit(e.Limit, uint64(limit.Limit()), uint64(limit.Burst()))
	}
	if err == nil {
		err = o.kernel.Install(k, in, e, out)
	}
	if err != nil {
		o.log.Debug("relay offload: a flow stays in user space", "peer", p.id, "addr", f.from.addr, "err", err)
		return
	}
	o.offload.flows[f] = &offloaded{passage: p, moved: now}
	o.placed[f] = placed{flow: k, in: in, out: out}
}

// local is the relay's address on a leg.
func (o *offloader) local(l leg, path inkernel.Path) netip.AddrPort {
	return netip.AddrPortFrom(path.Source, o.sockets[l.socket].Port())
}

// forget has the kernel forward nothing more of a member or for it. The caller holds
// the handler's lock.
func (o *offloader) forget(id wire.RelayID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.offload.of(id) {
		o.remove(f)
	}
}

// remove leaves a flow to user space. The caller holds the lock.
func (o *offloader) remove(f flow) {
	if o.offload.flows[f] == nil {
		return
	}
	n := o.kernel.Remove(o.placed[f].flow)
	o.total = sum(o.total, n)
	delete(o.offload.flows, f)
	delete(o.placed, f)
}

func sum(a, b inkernel.Count) inkernel.Count {
	return inkernel.Count{Packets: a.Packets + b.Packets, Bytes: a.Bytes + b.Bytes, Dropped: a.Dropped + b.Dropped}
}

// count returns how many flows the kernel forwards, and what it has forwarded.
func (o *offloader) count() (flows int, total inkernel.Count) {
	o.mu.Lock()
	defer o.mu.Unlock()
	total = o.total
	for _, p := range o.placed {
		total = sum(total, o.kernel.Count(p.flow))
	}
	return len(o.placed), total
}

func (o *offloader) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for f := range o.placed {
		o.remove(f)
	}
	o.closed = true
	o.kernel.Close()
}
