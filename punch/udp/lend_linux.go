package udp

import (
	"net/netip"
)

const (
	// lendSlabs are the bundles that one Lend receives at most. What is lent is worked
	// on where it lies, so that few and warm beat many.
	lendSlabs = 4
	// lendEnough is from how many datagrams on a Lend ends with its bundle, though
	// more are there: an application whose socket buffer is of the usual size loses
	// what comes to it in one piece of several bundles.
	lendEnough = 32
)

// Lend is Read without the copy: it waits for datagrams, points packets at them
// where the kernel put them, and returns how many. They are good until the next
// Lend or Read, and the borrower may write over them. What does not fit in packets
// comes with the next call.
func (c *Conn) Lend(packets [][]byte, from []netip.AddrPort) (int, error) {
	r := &c.reader
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(packets) == 0 {
		return 0, nil
	}
	if r.next == r.got {
		if err := r.fill(lendSlabs); err != nil {
			return 0, err
		}
	}
	n := 0
	for n < len(packets) && r.next < r.got {
		packets[n], from[n] = r.segment(), r.address(r.next)
		r.pass(len(packets[n]))
		if n++; n >= lendEnough && r.offset == 0 {
			break
		}
	}
	return n, nil
}
