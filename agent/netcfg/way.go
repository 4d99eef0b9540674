package netcfg

import "net/netip"

// way is how packets leave the host, as far as it can matter to a path.
type way struct {
	addresses []netip.Prefix // usable ones
	defaults  []string       // default routes, in words
}

// change says how next differs from w; "" if it does not.
func (w way) change(next way) string {
	came, went := difference(w.addresses, next.addresses)
	routesCame, routesWent := difference(w.defaults, next.defaults)
	switch {
	case len(came) > 0:
		return "address " + came[0].String() + " is new"
	case len(went) > 0:
		return "address " + went[0].String() + " is gone"
	case len(routesCame) > 0:
		return "route " + routesCame[0] + " is new"
	case len(routesWent) > 0:
		return "route " + routesWent[0] + " is gone"
	}
	return ""
}

// sameSet tells whether a and b hold the same, in any order.
func sameSet[T comparable](a, b []T) bool {
	add, remove := difference(a, b)
	return len(add) == 0 && len(remove) == 0
}
