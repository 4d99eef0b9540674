package tundev

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// unbacked is a buffer that takes memory only where it was written to. A new one of
// the heap's may have been cleared all over, and most packets are small.
func unbacked(size int) []byte {
	b := make([]byte, size)
	page := os.Getpagesize()
	start := -int(uintptr(unsafe.Pointer(&b[0]))) & (page - 1)
	if start+page <= size {
		// It only saves memory.
		_ = unix.Madvise(b[start:start+(size-start)&^(page-1)], unix.MADV_DONTNEED)
	}
	return b
}
