package dnssd

import (
	"net/netip"
	"strings"
)

// ReverseZones are the zones under in-addr.arpa and ip6.arpa that cover exactly
// these prefixes, without a dot at their ends.
func ReverseZones(prefixes []netip.Prefix) []string {
	var zones []string
	for _, p := range prefixes {
		for _, zone := range reverseZones(p) {
			zones = append(zones, strings.TrimSuffix(zone, "."))
		}
	}
	return zones
}
