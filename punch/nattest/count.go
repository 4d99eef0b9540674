package nattest

import (
	"maps"
	"net/netip"
)

// Count is an amount of datagrams.
type Count struct {
	Packets int
	Bytes   int // of UDP payload
}

func (c Count) add(p *packet) Count { return Count{c.Packets + 1, c.Bytes + len(p.Payload)} }

type hosts struct{ from, to *Host }

type counts struct {
	sent      map[*Host]Count
	delivered map[hosts]Count
	crossed   map[pair]Count
	drops     map[string]int
}

func newCounts() counts {
	return counts{map[*Host]Count{}, map[hosts]Count{}, map[pair]Count{}, map[string]int{}}
}

// Sent counts what a host sent to anyone.
func (n *Net) Sent(from *Host) Count {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.counts.sent[from]
}

// Delivered counts what one host sent and the other's sockets got, whatever
// gateways changed on the way. A relayed packet counts for the relay.
func (n *Net) Delivered(from, to *Host) Count {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.counts.delivered[hosts{from, to}]
}

// Crossed counts what the core carried, by the addresses that it saw.
func (n *Net) Crossed(from, to netip.Addr) Count {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.counts.crossed[pair{from, to}]
}

// Dropped counts the packets that were lost, by reason: "loss", "mtu", "queue
// full", "no route", "cut", "ttl", "blocked", "filtered", "table full", "no port",
// "no hairpin", "no socket", "buffer full".
func (n *Net) Dropped() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.counts.drops)
}
