package netcfg

import (
	"slices"
	"strings"
)

// meteredNames begin the names of links that are billed by what passes, more often
// than not: modems, and phones that share theirs by USB.
var meteredNames = []string{"wwan", "wwp", "ppp", "rmnet", "rndis", "usb"}

// What NetworkManager says of the connection that it takes for the way out
// (NMMetered): what its owner or its network told, or a guess.
const (
	nmMetered    = 1
	nmNotMetered = 2
	nmGuessYes   = 3
)

// metered reports whether packets are billed: NetworkManager knows what the owner
// chose, and what a phone says that shares its connection. Else the name of the
// link counts over which the default route leads. A tunnel that has laid itself
// over the default route sends its own packets by that one.
func metered(said uint32, hops []hop, links map[int]link) bool {
	switch said {
	case nmMetered, nmGuessYes:
		return true
	case nmNotMetered:
		return false
	}
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
