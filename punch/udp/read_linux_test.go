package udp

import (
	"bytes"
	"testing"
)

// A buffer is as long as asked for, zero and writable, whatever lies beside it.
func TestUnbacked(t *testing.T) {
	for _, size := range []int{1, 4095, 4096, 4097, 10000, slabs * slabSize} {
		b, ones := unbacked(size), bytes.Repeat([]byte{1}, size)
		if len(b) != size || !bytes.Equal(b, make([]byte, size)) {
			t.Errorf("%d bytes asked for: %d, or not all zero", size, len(b))
		}
		before := bytes.Clone(ones)
		next := unbacked(size)
		copy(b, ones)
		if !bytes.Equal(ones, before) || !bytes.Equal(b, ones) || !bytes.Equal(next, make([]byte, size)) {
			t.Errorf("%d bytes are not a buffer like any other", size)
		}
	}
}
