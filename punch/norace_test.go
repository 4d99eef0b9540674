//go:build !race

package punch

// worlds is how many of n worlds to go through: all, see race_test.go.
func worlds(n int) uint64 { return uint64(n) }
