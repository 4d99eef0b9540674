package vnet

import (
	"math/rand/v2"
	"testing"
)

// slowSum is RFC 1071 §4.1, not inverted.
func slowSum(b []byte) uint16 {
	var acc uint64
	for i, v := range b {
		if i%2 == 0 {
			acc += uint64(v) << 8
		} else {
			acc += uint64(v)
		}
	}
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return uint16(acc)
}

func toWord(v uint16) uint16 { return uint16(swap16(int(v))) }

func TestSum(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 2000)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	ones := make([]byte, 2000)
	for i := range ones {
		ones[i] = 0xff
	}
	for n := range len(b) + 1 {
		if got, want := toWord(fold(sum(b[:n], 0))), slowSum(b[:n]); got != want {
			t.Fatalf("%d random bytes: %#04x, want %#04x", n, got, want)
		}
		if got, want := toWord(fold(sum(ones[:n], 0xffff_ffff_ffff_ffff))), slowSum(ones[:n]); got != want && want != 0 {
			t.Fatalf("%d bytes of ones: %#04x, want %#04x", n, got, want)
		}
	}
}

// RFC 1071 §3 has this example.
func TestSumOfRFC1071(t *testing.T) {
	if got := toWord(fold(sum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}, 0))); got != 0xddf2 {
		t.Errorf("%#04x, want 0xddf2", got)
	}
}

func FuzzSum(f *testing.F) {
	f.Add([]byte{0xff, 0xff, 0xff}, 1)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		if len(b) == 0 {
			return
		}
		at = (at & 0xffff) % len(b) &^ 1
		if got, want := toWord(fold(sum(b[at:], sum(b[:at], 0)))), slowSum(b); got != want {
			t.Errorf("%#04x, want %#04x", got, want)
		}
	})
}

func BenchmarkSum(b *testing.B) {
	p := make([]byte, 1360)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		sum(p, 0)
	}
}
