package udp

// Limits of a bundle in the kernel; later ones take 128 segments.
const (
	maxSegments = 64
	maxBundle   = 65507 // largest UDP payload over IPv4; IPv6 would take 20 bytes more
)

// bundle returns how many datagrams at the front of bufs may leave as one
// bundle, each with head bytes put before it: equal sizes, the last may be
// shorter, none empty. It is at least 1 if there are any.
func bundle(bufs [][]byte, head int) int {
	if len(bufs) < 2 {
		return len(bufs)
	}
	size := head + len(bufs[0])
	total := size
	for n := 1; n < min(len(bufs), maxSegments); n++ {
		next := head + len(bufs[n])
		total += next
		switch {
		case next == 0 || next > size || total > maxBundle:
			return n
		case next < size:
			return n + 1
		}
	}
	return min(len(bufs), maxSegments)
}
