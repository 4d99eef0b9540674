package tunnel

// Transport carries WireGuard's packets to peers and back. Which way they go is
// its own affair and may change with every packet.
type Transport interface {
	// Receivers returns one function per source of packets, each called by one
	// goroutine. It blocks for the first packet, fills bufs, sizes and peers up to
	// len(bufs), and returns how many. A zero size is skipped; a zero peer means
	// that the sender is not known. After Close: net.ErrClosed.
	Receivers() []func(bufs [][]byte, sizes []int, peers []Key) (int, error)

	// Send sends bufs to a peer. It never blocks for long, keeps no reference to
	// bufs, and is called by many goroutines.
	Send(peer Key, bufs [][]byte) error

	// BatchSize is the most packets that one call passes, in either direction.
	BatchSize() int

	// Close unblocks the receivers. It is idempotent.
	Close() error
}
