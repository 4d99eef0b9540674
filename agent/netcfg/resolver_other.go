//go:build !linux

package netcfg

import (
	"context"
	"net/netip"
	"runtime"
)

// NewResolver returns a resolver that leaves the host as it is: only Linux's can
// be changed, so far.
func NewResolver(ResolverConfig) Resolver { return noResolver{} }

type noResolver struct{}

func (noResolver) Set(context.Context, Names) (Resolution, error) {
	return Resolution{Way: ByNothing, Reasons: []string{"the resolver of " + runtime.GOOS + " is not supported"}}, nil
}
func (noResolver) Clear(context.Context) error { return nil }
func (noResolver) Upstream() []netip.AddrPort  { return nil }
