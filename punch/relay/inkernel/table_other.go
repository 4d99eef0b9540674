//go:build !linux

package inkernel

import (
	"errors"
	"net/netip"
)

// Table is the kernel's table of flows, of which only Linux has one.
type Table struct{}

// New returns errors.ErrUnsupported.
func New() (*Table, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func (*Table) Close() {}

// Limit returns errors.ErrUnsupported.
func (*Table) Limit(id uint32, rate, burst uint64) error { return errors.ErrUnsupported }

// Install returns errors.ErrUnsupported.
func (*Table) Install(f Flow, in Path, e Exit, out Path) error { return errors.ErrUnsupported }

// Remove returns nothing.
func (*Table) Remove(f Flow) Count { return Count{} }

// Count returns nothing.
func (*Table) Count(f Flow) Count { return Count{} }

// PathTo returns ErrNoPath.
func PathTo(to, from netip.Addr) (Path, error) { return Path{}, ErrNoPath }
