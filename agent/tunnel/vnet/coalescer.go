package vnet

import (
	"errors"
	"sync/atomic"
)

// Offloads says what superpackets the other side takes.
type Offloads struct{ TCP, UDP bool }

// ErrRefused is what a [Coalescer]'s write function returns, wrapped or not,
// when the kernel does not take a superpacket for being one.
var ErrRefused = errors.New("superpacket refused")

// Limits of a superpacket and of what waits for Flush.
const (
	maxPacket   = 65535 // an IP packet's length field has 16 bits
	maxSegments = 64    // UDP_MAX_SEGMENTS of older kernels; TCP of 1200 bytes has fewer
	maxWaiting  = 256   // packets
	indexSize   = 128   // flows at a time, a power of two
)

// Coalescer joins packets of a flow into superpackets: TCP and UDP, IPv4 and
// IPv6. Packets of a flow stay in their order, and nothing overtakes a packet of
// which the flow is not known. It is unsafe for concurrent use.
type Coalescer struct {
	write    func(frame [][]byte) error
	offloads Offloads
	split    *atomic.Bool

	slots   []slot
	used    int               // slots that hold something
	waiting int               // packets in them
	index   [indexSize]uint16 // by hash of the flow: slot to append to, from 1; 0: none
	frame   [][]byte
	header  [HeaderLen + maxHead]byte
}

// slot is one frame to be.
type slot struct {
	shape   // of the first packet
	packets [][]byte
	length  int    // of the superpacket
	seq     uint32 // TCP: that the next packet must have
}

// NewCoalescer returns a coalescer that hands frames to write: a virtio header
// and IP's headers, then payloads, for one writev. They are good until write
// returns. When write returns [ErrRefused] for a superpacket, its packets are
// written alone, and so is every other of that protocol from then on.
func NewCoalescer(write func(frame [][]byte) error, o Offloads) *Coalescer {
	return &Coalescer{write: write, offloads: o, split: new(atomic.Bool)}
}

// SplitUDP leaves UDP as it is for as long as split is set.
func (c *Coalescer) SplitUDP(split *atomic.Bool) { c.split = split }

// Offloads tells what is still joined.
func (c *Coalescer) Offloads() Offloads { return c.offloads }

// Add takes a complete IP packet, which must stay untouched until Flush. The
// error is that of a Flush, which Add does by itself when much is waiting.
func (c *Coalescer) Add(packet []byte) error {
	var err error
	if c.waiting == maxWaiting {
		err = c.Flush()
	}
	c.waiting++
	s := examine(packet)
	if s.kind == joinable && !c.joins(s.udp) {
		s.kind = solitary
	}
	at := &c.index[s.hash%indexSize]
	switch s.kind {
	case opaque:
		clear(c.index[:])
		c.open(packet, s)
	case solitary:
		*at = 0
		c.open(packet, s)
	default:
		if *at == 0 || !c.slots[*at-1].append(packet, &s) {
			*at = c.open(packet, s)
		}
		if s.last {
			*at = 0
		}
	}
	return err
}

func (c *Coalescer) joins(udp bool) bool {
	if udp {
		return c.offloads.UDP && !c.split.Load()
	}
	return c.offloads.TCP
}

// open begins a frame and returns its number, from 1.
func (c *Coalescer) open(packet []byte, s shape) uint16 {
	if c.used == len(c.slots) {
		c.slots = append(c.slots, slot{})
	}
	n := &c.slots[c.used]
	n.shape, n.length, n.packets = s, len(packet), append(n.packets[:0], packet)
	if s.kind == joinable && !s.udp {
		n.seq = be.Uint32(packet[s.start+4:]) + uint32(s.payload)
	}
	c.used++
	return uint16(c.used)
}

// append joins a packet of shape s, if it may. Segments are of one size; a
// shorter one is the last, which s.last then says.
func (n *slot) append(packet []byte, s *shape) bool {
	if s.v4 != n.v4 || s.udp != n.udp || s.headLen != n.headLen || s.payload > n.payload ||
		n.length+s.payload > maxPacket || len(n.packets) == maxSegments ||
		!s.udp && be.Uint32(packet[s.start+4:]) != n.seq || !sameHead(n.packets[0], packet, *s, len(n.packets)) {
		return false
	}
	n.packets = append(n.packets, packet)
	n.length += s.payload
	n.seq += uint32(s.payload)
	s.last = s.last || s.payload < n.payload
	return true
}

// Flush writes all that waits, and forgets it. The error is the first of write's;
// what comes after it is written nevertheless.
func (c *Coalescer) Flush() error {
	var first error
	for i := range c.slots[:c.used] {
		if err := c.flush(&c.slots[i]); err != nil && first == nil {
			first = err
		}
		clear(c.slots[i].packets)
	}
	c.used, c.waiting = 0, 0
	clear(c.index[:])
	return first
}

func (c *Coalescer) flush(n *slot) error {
	if len(n.packets) > 1 && c.joins(n.udp) {
		err := c.write(c.join(n))
		if !errors.Is(err, ErrRefused) {
			return err
		}
		if n.udp {
			c.offloads.UDP = false
		} else {
			c.offloads.TCP = false
		}
	}
	var first error
	for _, p := range n.packets {
		header{}.put(c.header[:])
		c.frame = append(c.frame[:0], c.header[:HeaderLen], p)
		if err := c.write(c.frame); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// join makes the frame of a superpacket: the first packet's headers with the
// length of the whole and the last one's PSH and FIN, and the payloads. The
// checksum is left to the kernel.
func (c *Coalescer) join(n *slot) [][]byte {
	head := c.header[HeaderLen : HeaderLen+n.headLen]
	copy(head, n.packets[0])
	h := header{
		flags:          flagNeedsChecksum,
		headLen:        uint16(n.headLen),
		gsoSize:        uint16(n.payload),
		checksumStart:  uint16(n.start),
		checksumOffset: udpChecksumAt,
		gsoType:        gsoUDP,
	}
	transportLen, l4, proto := n.length-n.start, head[n.start:], uint8(protoUDP)
	if n.udp {
		be.PutUint16(l4[4:], uint16(transportLen))
	} else {
		h.checksumOffset, h.gsoType, proto = tcpChecksumAt, gsoTCPv6, protoTCP
		if n.v4 {
			h.gsoType = gsoTCPv4
		}
		l4[tcpFlagsAt] |= n.packets[len(n.packets)-1][n.start+tcpFlagsAt]
	}
	le.PutUint16(l4[h.checksumOffset:], fold(add(pseudo(head, proto), swap16(transportLen))))
	if n.v4 {
		be.PutUint16(head[2:], uint16(n.length))
		clear(head[10:12])
		putChecksum(head[10:], sum(head[:ipv4HeaderLen], 0), false)
	} else {
		be.PutUint16(head[4:], uint16(n.length-ipv6HeaderLen))
	}
	h.put(c.header[:])
	c.frame = append(c.frame[:0], c.header[:HeaderLen+n.headLen])
	for _, p := range n.packets {
		c.frame = append(c.frame, p[n.headLen:])
	}
	return c.frame
}
