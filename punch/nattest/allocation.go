package nattest

import (
	"math/rand/v2"
	"net/netip"
)

// Allocation is how a NAT chooses the public port of a new mapping (RFC 4787
// §4.2). The zero value takes random ports of 1024–65535.
type Allocation struct {
	Preserve  bool   // the internal port if it is free, else as below
	Step      int    // the last port plus Step, wrapping; 0 means random
	Low, High uint16 // bounds, inclusive; 0 means 1024 and 65535
	Block     int    // ports of the block that each internal address has for itself; 0 means no blocks
}

// Preserving keeps the internal port, and takes a random one if that is in use.
func Preserving() Allocation { return Allocation{Preserve: true} }

// Sequential takes the last port plus step, which may be negative.
func Sequential(step int) Allocation { return Allocation{Step: step} }

// Random takes any port of low to high.
func Random(low, high uint16) Allocation { return Allocation{Low: low, High: high} }

// RandomBlock takes any port of a block that the internal address has for itself,
// as carrier-grade NATs do (RFC 7422).
func RandomBlock(size int) Allocation { return Allocation{Block: size} }

// allocator is an Allocation at work.
type allocator struct {
	Allocation
	next   int // of Step; -1 before the first
	blocks map[netip.Addr]int
	taken  map[int]bool // blocks, by number
}

func newAllocator(a Allocation) *allocator {
	if a.Low == 0 {
		a.Low = 1024
	}
	if a.High == 0 {
		a.High = 65535
	}
	return &allocator{Allocation: a, next: -1, blocks: map[netip.Addr]int{}, taken: map[int]bool{}}
}

// pick chooses a free port for an internal endpoint; none is left when it fails.
func (a *allocator) pick(inside netip.AddrPort, luck *rand.Rand, free func(port uint16) bool) (uint16, bool) {
	low, span, ok := a.bounds(inside.Addr(), luck)
	if !ok {
		return 0, false
	}
	own := int(inside.Port())
	if a.Preserve && low <= own && own < low+span && free(inside.Port()) {
		return inside.Port(), true
	}
	start, step := luck.IntN(span), 1
	if a.Step != 0 {
		step = a.Step
		if a.next >= 0 {
			start = a.next
		}
	}
	for i := range span {
		offset := mod(start+i*step, span)
		if port := uint16(low + offset); free(port) {
			a.next = mod(offset+step, span)
			return port, true
		}
	}
	return 0, false
}

// bounds returns the first port and the number of ports that an internal address
// may have. Without a block for it there are none.
func (a *allocator) bounds(inside netip.Addr, luck *rand.Rand) (low, span int, ok bool) {
	low, span = int(a.Low), int(a.High)-int(a.Low)+1
	if a.Block == 0 {
		return low, span, true
	}
	block, ok := a.blocks[inside]
	if !ok {
		block, ok = a.freeBlock(span/a.Block, luck)
		if !ok {
			return 0, 0, false
		}
		a.blocks[inside] = block
	}
	return low + block*a.Block, a.Block, true
}

func (a *allocator) freeBlock(n int, luck *rand.Rand) (int, bool) {
	if len(a.taken) >= n {
		return 0, false
	}
	block := luck.IntN(n)
	for a.taken[block] {
		block = (block + 1) % n
	}
	a.taken[block] = true
	return block, true
}

// mod is the remainder that is never negative.
func mod(a, n int) int { return (a%n + n) % n }
