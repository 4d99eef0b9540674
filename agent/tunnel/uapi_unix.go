//go:build linux || darwin || freebsd

package tunnel

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// uapiDir is where wg(8) looks for sockets.
const uapiDir = "/var/run/wireguard"

// errnoPerm is EPERM, as wg(8) reads it.
const errnoPerm = int(unix.EPERM)

// listenUAPI opens the socket of an interface that was just made: a socket of
// that name was left behind by another process, unless one answers on it.
func listenUAPI(iface string) (net.Listener, error) {
	path := filepath.Join(uapiDir, iface+".sock")
	if err := os.MkdirAll(uapiDir, 0o755); err != nil {
		return nil, err
	}
	if c, err := net.Dial("unix", path); err == nil {
		return nil, errors.Join(fmt.Errorf("socket %q is in use", path), c.Close())
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	// The answers hold the private key, so the socket is never open to others,
	// not even between bind and chmod.
	defer unix.Umask(unix.Umask(0o077))
	return net.Listen("unix", path)
}
