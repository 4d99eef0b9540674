//go:build !race

package udp

import (
	"errors"
	"net/netip"
	"testing"
)

// The race detector makes sync.Pool forget at random, so it can't count.

func TestAllocations(t *testing.T) {
	head, bufs := []byte("8 bytes!"), packets(repeat(1200, 128)...)
	lent := make([][]byte, 128)
	in, sizes, from := packets(repeat(2048, 128)...), make([]int, 128), make([]netip.AddrPort, 128)
	for _, config := range []Config{{Addr: loopback4}, {Addr: loopback6}, {Addr: loopback4, NoOffload: true}} {
		a, b := listen(t, config), listen(t, config)
		got := testing.AllocsPerRun(100, func() {
			err := errors.Join(a.WriteHeaded(head, bufs, b.LocalAddr()), a.WriteTTL(bufs[0], b.LocalAddr(), 9))
			if err != nil {
				t.Fatal(err)
			}
			for n := 0; n < len(bufs)+1; {
				more, err := b.Read(in, sizes, from)
				if err != nil {
					t.Fatal(err)
				}
				n += more
			}
			if err := a.Write(bufs, b.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			for n := 0; n < len(bufs); {
				more, err := b.Lend(lent, from)
				if err != nil {
					t.Fatal(err)
				}
				n += more
			}
		})
		// Now and then the garbage collector empties the pool of writers.
		if got >= 1 {
			t.Errorf("%+v: got %v allocations in 257 datagrams, want 0", config, got)
		}
	}
}
