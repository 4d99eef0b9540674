//go:build !linux

package tunnel

import (
	"errors"
	"fmt"
	"log/slog"
)

// kernelReady says no: elsewhere the kernel's WireGuard, where there is one, does
// not leave its port to others too.
func kernelReady() error { return errors.ErrUnsupported }

func newKernel(c Config) (Tunnel, error) {
	return nil, fmt.Errorf("create interface %q in the kernel: %w", c.Interface, errors.ErrUnsupported)
}

// CleanUp does nothing: only Linux has interfaces that outlive their process.
func CleanUp(PrivateKey, *slog.Logger) error { return nil }
