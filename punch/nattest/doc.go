// Package nattest is an internet in memory, for tests of hole punching: hosts,
// gateways with NATs of every kind that RFC 4787 has words for, and a core that
// counts what really passed.
//
// It knows addresses, ports, hop limits and time. It never knows what is in a
// datagram, nor anything of package punch. It opens no real socket and waits
// only on timers and condition variables, so that inside a testing/synctest
// bubble hours pass at once; it works outside bubbles too.
//
//	host ──link── Site (home) ──link── Site (carrier) ──link── core ──link── host
//	              NAT, filter          NAT, filter             Hops
//
// A [Segment] is a place where devices meet: the core, the LAN of a home, the
// access network of a carrier. A [Site] is a gateway with the segment behind it,
// and sites nest. A packet finds the device which owns its destination on its
// own segment, or else goes up through the gateway; from the core it goes down
// to whoever owns the address or the routed prefix. Private prefixes may
// overlap as they do in life: nobody looks further than his own segment.
//
// # Determinism
//
// Every random choice about a packet (loss, jitter, the port a NAT takes for it)
// is drawn from a source seeded by [Config].Seed, the sending socket and the
// packet's number on it, and events of one instant run in the order of these.
// Within a bubble one seed therefore gives one course of events, however the
// goroutines of the test are scheduled, as long as each socket is written to by
// one goroutine at a time.
package nattest
