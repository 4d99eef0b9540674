package nattest

import "time"

// LAN is a link as in a home: quick and without loss.
var LAN = Link{Delay: 200 * time.Microsecond}

// queueLimit is how long a packet waits for a link of limited rate at most.
const queueLimit = 200 * time.Millisecond

// Link is what joins a device to a segment. It is the same in both directions,
// and each has its own queue. The zero value is a perfect link.
type Link struct {
	Delay   time.Duration // one way
	Jitter  time.Duration // up to this much more, evenly spread; packets keep their order
	Loss    float64       // share of packets lost, 0..1; 1 is a link that is down
	Reorder float64       // share of packets held back by up to Delay+Jitter, so that later ones overtake them
	Rate    int           // bit/s of IP packets, with a queue of 200 ms; 0 means unlimited
	MTU     int           // larger IP packets are dropped silently; 0 means unlimited
}

// lane is one direction of a link.
type lane struct {
	free time.Time // when the last packet has left the queue
	last time.Time // when the last packet arrives
}

// transit returns how long p takes, or why it never arrives.
func (l *Link) transit(now time.Time, ln *lane, p *packet) (d time.Duration, lost string) {
	if l.MTU > 0 && p.size() > l.MTU {
		return 0, "mtu"
	}
	if p.luck.Float64() < l.Loss {
		return 0, "loss"
	}
	sent, ok := l.queue(now, ln, p)
	if !ok {
		return 0, "queue full"
	}
	arrival := sent.Add(l.Delay + share(p.luck.Float64(), l.Jitter))
	if p.luck.Float64() < l.Reorder {
		return arrival.Add(share(p.luck.Float64(), l.Delay+l.Jitter)).Sub(now), ""
	}
	if arrival.Before(ln.last) {
		arrival = ln.last
	}
	ln.last = arrival
	return arrival.Sub(now), ""
}

// queue returns when p has left the queue, unless it is full.
func (l *Link) queue(now time.Time, ln *lane, p *packet) (time.Time, bool) {
	if l.Rate == 0 {
		return now, true
	}
	if ln.free.Before(now) {
		ln.free = now
	}
	if ln.free.Sub(now) > queueLimit {
		return now, false
	}
	ln.free = ln.free.Add(time.Duration(p.size()) * 8 * time.Second / time.Duration(l.Rate))
	return ln.free, true
}

func share(f float64, d time.Duration) time.Duration { return time.Duration(f * float64(d)) }
