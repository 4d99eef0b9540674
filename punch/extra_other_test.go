//go:build !linux

package punch

import "testing"

// descriptors can't be counted here.
func descriptors(*testing.T) int { return 0 }
