package relay

import (
	"sync/atomic"

	"meshd/punch/relay/inkernel"
)

// Drop is why a datagram was not forwarded or answered.
type Drop uint8

// Reasons for a drop.
const (
	DropMalformed   Drop = iota // no message that a relay knows
	DropUnbound                 // data from a source that is bound to nothing
	DropStranger                // a session message for an id without key, or made with another key
	DropCookie                  // an ANSWER whose cookie is old or for somebody else
	DropForbidden               // the two may not exchange datagrams
	DropAbsent                  // the destination has no session
	DropLimited                 // beyond a rate limit
	DropQueue                   // a WebSocket was too slow
	DropUndelivered             // the socket refused it
	DropHeard                   // a WireGuard handshake, which is taken in and not answered
	numDrops
)

// String returns the name used in metrics.
func (d Drop) String() string {
	return [numDrops]string{"malformed", "unbound", "stranger", "cookie", "forbidden", "absent", "limited", "queue", "undelivered", "heard"}[d]
}

// Stats is what a server has done since it was made.
type Stats struct {
	UDP, WebSockets int    // sessions now
	Packets, Bytes  uint64 // forwarded, headers included
	Replies         uint64 // session messages, RESETs and STUN responses sent
	Drops           map[Drop]uint64

	Offload string         // on, off, or why the kernel can't forward
	Flows   int            // that the kernel forwards now
	Kernel  inkernel.Count // the kernel's share of the above
}

// addKernel adds what the kernel forwards and has forwarded.
func (s *Stats) addKernel(flows int, n inkernel.Count) {
	s.Flows, s.Kernel = flows, n
	s.Packets += n.Packets
	s.Bytes += n.Bytes
	if n.Dropped > 0 {
		s.Drops[DropLimited] += n.Dropped
	}
}

// counters are added to from several goroutines, once a batch.
type counters struct {
	packets, bytes, replies atomic.Uint64
	drops                   [numDrops]atomic.Uint64
}

// tally is one batch's share of the counters.
type tally struct {
	packets, bytes, replies uint64
	drops                   [numDrops]uint64
}

// add takes t in and clears it.
func (c *counters) add(t *tally) {
	c.packets.Add(t.packets)
	c.bytes.Add(t.bytes)
	c.replies.Add(t.replies)
	for i, n := range t.drops {
		if n > 0 {
			c.drops[i].Add(n)
		}
	}
	*t = tally{}
}

func (c *counters) stats() Stats {
	s := Stats{
		Packets: c.packets.Load(), Bytes: c.bytes.Load(), Replies: c.replies.Load(),
		Drops: map[Drop]uint64{},
	}
	for i := range c.drops {
		if n := c.drops[i].Load(); n > 0 {
			s.Drops[Drop(i)] = n
		}
	}
	return s
}
