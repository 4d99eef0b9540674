package filter

import (
	"encoding/binary"
	"hash/maphash"
	"sync/atomic"
	"time"
)

// Memory is for how long an answer may come after the last packet that went out:
// what RFC 4787 (REQ-5) wants of NATs, which programs count on.
const Memory = 5 * time.Minute

const (
	flowSets = 2048 // times flowWays flows are remembered: 64 KiB
	flowWays = 4

	secondsBits = 24 // half a year, then anew
	secondsMask = 1<<secondsBits - 1
)

// flows remembers what went out, in a table that never grows: the oldest of a set
// makes room. An entry is a mark of the flow (40 bits of a seeded hash, so that
// nobody can aim at it) and when a packet of it went out last, in seconds. Any
// number of goroutines may use it; two that write one entry at the same time may
// lose one of both, until its next packet.
type flows struct {
	seed maphash.Seed
	sets [flowSets][flowWays]atomic.Uint64
}

func newFlows() *flows { return &flows{seed: maphash.MakeSeed()} }

// hash is the same for a packet and for what answers it, one of them turned.
func (f *flows) hash(proto Proto, near []byte, nearPort uint16, far []byte, farPort uint16) uint64 {
	var key [1 + 2*(16+2)]byte
	b := append(key[:0], byte(proto))
	b = append(b, near...)
	b = binary.BigEndian.AppendUint16(b, nearPort)
	b = append(b, far...)
	b = binary.BigEndian.AppendUint16(b, farPort)
	return maphash.Bytes(f.seed, b)
}

// split makes of a hash a set and the mark of a flow in it, which is never zero.
func (f *flows) split(hash uint64) (set *[flowWays]atomic.Uint64, mark uint64) {
	return &f.sets[hash%flowSets], hash>>secondsBits | 1
}

func seconds(now time.Time) uint64 { return uint64(now.Unix()) & secondsMask }

// age is how long ago an entry was renewed, in seconds.
func age(entry, now uint64) uint64 { return (now - entry) & secondsMask }

// remember notes that a packet of a flow went out.
func (f *flows) remember(hash uint64, now time.Time) {
	set, mark := f.split(hash)
	at := seconds(now)
	oldest, most := 0, uint64(0)
	for i := range set {
		entry := set[i].Load()
		if entry>>secondsBits == mark {
			if entry&secondsMask != at {
				set[i].Store(mark<<secondsBits | at)
			}
			return
		}
		idle := age(entry, at)
		if entry == 0 {
			idle = secondsMask
		}
		if idle > most {
			oldest, most = i, idle
		}
	}
	set[oldest].Store(mark<<secondsBits | at)
}

// knows reports whether a packet of a flow went out within Memory.
func (f *flows) knows(hash uint64, now time.Time) bool {
	set, mark := f.split(hash)
	for i := range set {
		if entry := set[i].Load(); entry>>secondsBits == mark {
			return age(entry, seconds(now)) <= uint64(Memory/time.Second)
		}
	}
	return false
}
