//go:build !guest

package e2e

// megabyte is how much a story sends to see which way it goes.
const megabyte = 1 << 20
