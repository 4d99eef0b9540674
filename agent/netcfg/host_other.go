//go:build !linux

package netcfg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
)

// New returns a host that supports nothing: only Linux is, so far.
func New(*slog.Logger) Host { return unsupported{} }

type unsupported struct{}

var errUnsupported = fmt.Errorf("network configuration on %s: %w", runtime.GOOS, errors.ErrUnsupported)

func (unsupported) Addresses() ([]netip.Prefix, error) { return nil, errUnsupported }
func (unsupported) Overlap(netip.Prefix, string) (string, bool, error) {
	return "", false, errUnsupported
}
func (unsupported) LAN() ([]Interface, error)                { return nil, errUnsupported }
func (unsupported) Gateways() ([]Gateway, error)             { return nil, errUnsupported }
func (unsupported) Metered() (bool, error)                   { return false, errUnsupported }
func (unsupported) Configure(string, Config) error           { return errUnsupported }
func (unsupported) Remove(string) error                      { return errUnsupported }
func (unsupported) Watch(context.Context, func(Event)) error { return errUnsupported }
