//go:build race

package punch

// worlds is how many of n worlds to go through. What a race does it does in the first
// ones; statistics are made without the race detector.
func worlds(n int) uint64 { return uint64(max(n/10, 3)) }
