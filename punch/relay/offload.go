package relay

import (
	"encoding/binary"
	"slices"
	"time"

	"meshd/punch/wire"
)

const (
	// busyRate is from how many bytes a second on a flow is worth a place in the kernel.
	busyRate = 1 << 20
	// meterTime is for how long rates are measured: short, as all until then goes by
	// user space.
	meterTime = 250 * time.Millisecond
	// reviewTime is how often flows in the kernel are looked at.
	reviewTime = time.Second
	// idleTime ends a flow in the kernel that carries nothing.
	idleTime = 5 * time.Second
	// unheardTime ends one whose sender is not heard any more, though the kernel hands
	// over a packet every other second: the host's packet filter has turned against it.
	unheardTime = 10 * time.Second
	// maxMetered bounds the flows measured at a time.
	maxMetered = 1024
)

// flow is what one source sends with one header: one way of a pair.
type flow struct {
	from leg
	head uint64
}

// header is the flow's, zero for anything but a relay message.
func (f flow) header() wire.Header {
	var b [wire.HeaderSize]byte
	binary.BigEndian.PutUint64(b[:], f.head)
	h, _ := wire.ParseHeader(b[:])
	return h
}

// passage is how a flow is forwarded.
type passage struct {
	id, peer wire.RelayID // who sends, who receives
	to       leg
}

// meter tells which flows are busy. It belongs to one forwarder.
type meter struct {
	since time.Time
	bytes map[flow]int
}

func (m *meter) add(f flow, bytes int) {
	if _, known := m.bytes[f]; known || len(m.bytes) < maxMetered {
		m.bytes[f] += bytes
	}
}

// busy returns once in a while which flows have been busy since the last time.
func (m *meter) busy(now time.Time) (flows []flow) {
	if m.bytes == nil {
		m.since, m.bytes = now, map[flow]int{}
	}
	span := now.Sub(m.since)
	if span < meterTime {
		return nil
	}
	for f, n := range m.bytes {
		if float64(n) >= busyRate*span.Seconds() {
			flows = append(flows, f)
		}
	}
	clear(m.bytes)
	m.since = now
	return flows
}

// offloaded is a flow that the kernel forwards.
type offloaded struct {
	passage
	bytes uint64    // forwarded when last looked at
	moved time.Time // when that had grown
}

// offload decides which flows the kernel forwards. It has no lock and no clock.
type offload struct {
	most  int
	flows map[flow]*offloaded
}

// review says which flows the kernel is to lose, and which it is to get: the busy ones
// and what their receivers answer, which are many small packets. It asks how many bytes the kernel has forwarded of each flow, and whether and
// how each would be forwarded now.
func (o *offload) review(now time.Time, busy []flow, bytes func(flow) uint64, lookup func(flow) (passage, bool)) (remove, install []flow) {
	for f, e := range o.flows {
		if n := bytes(f); n != e.bytes {
			e.bytes, e.moved = n, now
		}
		if p, ok := lookup(f); !ok || p != e.passage || now.Sub(e.moved) >= idleTime {
			remove = append(remove, f)
		}
	}
	left := o.most - len(o.flows) + len(remove)
	for _, f := range busy {
		p, ok := lookup(f)
		if !ok {
			continue
		}
		for _, way := range []flow{f, {p.to, f.head}} {
			if _, ok := lookup(way); ok && left > 0 && o.flows[way] == nil && !slices.Contains(install, way) {
				install = append(install, way)
				left--
			}
		}
	}
	return remove, install
}

// of returns the flows that a member sends or receives.
func (o *offload) of(id wire.RelayID) (flows []flow) {
	for f, e := range o.flows {
		if e.id == id || e.peer == id {
			flows = append(flows, f)
		}
	}
	return flows
}
