package netcfg

import (
	"cmp"
	"net/netip"
	"slices"
)

// difference returns what has to be added to have, and removed from it, to make
// it want. Order and repetition don't matter.
func difference[T comparable](have, want []T) (add, remove []T) {
	for _, w := range want {
		if !slices.Contains(have, w) && !slices.Contains(add, w) {
			add = append(add, w)
		}
	}
	for _, h := range have {
		if !slices.Contains(want, h) {
			remove = append(remove, h)
		}
	}
	return add, remove
}

// comparePrefixes orders by family, address, length.
func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
