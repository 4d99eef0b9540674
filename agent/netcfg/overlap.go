package netcfg

import (
	"fmt"
	"net/netip"
)

// taken is a prefix that the host uses on a link.
type taken struct {
	prefix netip.Prefix
	link   string // its name
}

func (t taken) String() string { return fmt.Sprintf("%v on %s", t.prefix, t.link) }

// overlap finds the first of used that p overlaps. Default routes overlap
// everything and mean nothing; nor do the two halves that some VPNs lay over
// them (0.0.0.0/1 and 128.0.0.0/1).
func overlap(p netip.Prefix, used []taken, own string) (taken, bool) {
	for _, t := range used {
		if t.link != own && !everything(t.prefix) && t.prefix.Overlaps(p) {
			return t, true
		}
	}
	return taken{}, false
}

// everything tells whether p is a default route or half of one.
func everything(p netip.Prefix) bool { return p.Bits() <= 1 }
