package main

import (
	"net/netip"

	"meshd/deploy/lab"
)

// verdict is what the core saw of a pair's traffic.
type verdict string

// Verdicts.
const (
	straight verdict = "direct"
	halfway  verdict = "one way direct"
	viaHub   verdict = "relay"
	viaTLS   verdict = "tls"
	silence  verdict = "nothing"
)

// flows is what passed the core by protocol.
type flows struct {
	udp, tcp map[lab.Flow]lab.Count
}

func readFlows(l *lab.Lab) (flows, error) {
	udp, err := l.FlowsOf("udp")
	if err != nil {
		return flows{}, err
	}
	tcp, err := l.FlowsOf("tcp")
	return flows{udp, tcp}, err
}

// sent is what one end sent in a while, in bytes, by where it went.
type sent struct {
	peer, hubUDP, hubTCP uint64
}

func outward(before, after flows, from, to, hub netip.Addr) sent {
	passed := func(was, is map[lab.Flow]lab.Count, to netip.Addr) uint64 {
		f := lab.Flow{From: from, To: to}
		return is[f].Bytes - was[f].Bytes
	}
	return sent{passed(before.udp, after.udp, to), passed(before.udp, after.udp, hub), passed(before.tcp, after.tcp, hub)}
}

// way is the one by which n bytes or more left.
func (s sent) way(n uint64) verdict {
	switch {
	case s.peer >= n:
		return straight
	case s.hubUDP >= n:
		return viaHub
	case s.hubTCP >= n:
		return viaTLS
	}
	return silence
}

// judge tells from what both ends sent in a while, at least n bytes each, how they
// reached each other.
func judge(a, b sent, n uint64) verdict {
	x, y := a.way(n), b.way(n)
	switch {
	case x == y:
		return x
	case x == silence || y == silence:
		return silence
	case x == viaTLS || y == viaTLS:
		return viaTLS
	}
	return halfway
}
