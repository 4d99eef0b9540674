package netcfg

import (
	"slices"
	"strings"
)

// meteredNames begin the names of links that are billed by what passes, more often
// than not: modems, and phones that share theirs by USB.
var meteredNames = []string{"wwan", "wwp", "ppp", "rmnet", "rndis", "usb"}

// metered reports whether the default route leads over such a link. A tunnel that
// has laid itself over the default route sends its own packets by that one.
func metered(hops []hop, links map[int]link) bool {
	for _, v6 := range []bool{false, true} {
		of := slices.DeleteFunc(slices.Clone(hops), func(h hop) bool { return h.v6 != v6 || h.half })
		if len(of) == 0 {
			continue // the other family may have one
		}
		name := links[slices.MinFunc(of, hop.compare).link].name
		return slices.ContainsFunc(meteredNames, func(p string) bool { return strings.HasPrefix(name, p) })
	}
	return false
}
