package dnssd

import (
	"cmp"
	"net/netip"
	"slices"
)

// ranks tells how sure it is that anybody can send to a candidate of a kind.
// Kinds that are not here are worth a try, but nothing to point the world at.
var ranks = map[string]int{"mapped": 1, "reflexive": 2, "observed": 3, "host": 4}

const noRank = 5

// Publish is the publication of a member with these candidates: the best first,
// as its endpoint, and no more than [MaxCandidates]. Addresses to which nobody
// else can send are left out.
func Publish(candidates []Candidate) Publication {
	var p Publication
	for _, c := range candidates {
		if usable(c.Addr) && !c.Addr.Addr().IsLoopback() {
			p.Candidates = append(p.Candidates, c)
		}
	}
	slices.SortStableFunc(p.Candidates, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.Addr.Addr().BitLen(), b.Addr.Addr().BitLen()))
	})
	p.Candidates = p.Candidates[:min(len(p.Candidates), MaxCandidates)]
	if len(p.Candidates) > 0 && p.Candidates[0].rank() < noRank {
		p.Endpoint = p.Candidates[0].Addr
	}
	return p
}

// rank keeps addresses of a LAN among those that are told to friends only.
func (c Candidate) rank() int {
	rank, known := ranks[c.Kind]
	if !known || c.Kind == "host" && !isPublic(c.Addr.Addr()) {
		return noRank
	}
	return rank
}

var shared = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598

func isPublic(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !shared.Contains(a)
}
