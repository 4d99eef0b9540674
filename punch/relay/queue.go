package relay

import (
	"encoding/binary"
	"sync"

	"meshd/punch/wire"
)

const (
	// dataSlots and urgentSlots bound a WebSocket's queue. What waits longer is
	// better lost: the TCP inside has to learn of the bottleneck.
	dataSlots, urgentSlots = 64, 32
	// maxMessage bounds a WebSocket message in bytes.
	maxMessage = 1 << 16
	lengthSize = 2
)

// queue holds datagrams for one WebSocket. What sets up or keeps alive goes
// before data and is never lost for it.
type queue struct {
	wake chan struct{} // one token: something is there

	mu           sync.Mutex // guards following
	urgent, data ring
}

func newQueue() *queue {
	return &queue{
		wake:   make(chan struct{}, 1),
		urgent: ring{slots: make([][]byte, urgentSlots)}, data: ring{slots: make([][]byte, dataSlots)},
	}
}

// push copies datagrams in and returns how many were lost: the oldest, or one
// that no message holds.
func (q *queue) push(datagrams [][]byte) (lost int) {
	q.mu.Lock()
	for _, b := range datagrams {
		switch {
		case lengthSize+len(b) > maxMessage:
			lost++
		case urgent(b):
			lost += q.urgent.push(b)
		default:
			lost += q.data.push(b)
		}
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return lost
}

// take appends a message of all that fits to dst; nothing means that the queue
// is empty.
func (q *queue) take(dst []byte) []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range []*ring{&q.urgent, &q.data} {
		for r.n > 0 && len(dst)+lengthSize+len(r.first()) <= maxMessage {
			dst = appendDatagram(dst, r.first())
			r.pop()
		}
	}
	return dst
}

// urgent reports whether a relay message is none of the mass of data: a session
// message, a probe, a WireGuard handshake.
func urgent(b []byte) bool {
	h, err := wire.ParseHeader(b)
	const transportData = 4
	return err != nil || h.Type != wire.Data || len(b) == wire.HeaderSize || b[wire.HeaderSize] != transportData
}

// ring is a queue that loses its oldest when full. Slots keep their memory.
type ring struct {
	slots [][]byte
	head  int // index of the first
	n     int
}

func (r *ring) push(b []byte) (lost int) {
	if r.n == len(r.slots) {
		r.pop()
		lost = 1
	}
	at := (r.head + r.n) % len(r.slots)
	r.slots[at] = append(r.slots[at][:0], b...)
	r.n++
	return lost
}

func (r *ring) first() []byte { return r.slots[r.head] }

func (r *ring) pop() {
	r.head = (r.head + 1) % len(r.slots)
	r.n--
}

// appendDatagram appends b with its length to a WebSocket message.
func appendDatagram(message, b []byte) []byte {
	message = binary.BigEndian.AppendUint16(message, uint16(len(b)))
	return append(message, b...)
}

// splitMessage appends the datagrams of a WebSocket message to dst, without
// copying them. It reports false if the message is cut short.
func splitMessage(dst [][]byte, message []byte) ([][]byte, bool) {
	for len(message) > 0 {
		if len(message) < lengthSize {
			return dst, false
		}
		size := int(binary.BigEndian.Uint16(message))
		message = message[lengthSize:]
		if size > len(message) {
			return dst, false
		}
		dst = append(dst, message[:size:size])
		message = message[size:]
	}
	return dst, true
}
