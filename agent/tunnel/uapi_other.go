//go:build !(linux || darwin || freebsd)

package tunnel

import (
	"errors"
	"net"
)

const errnoPerm = 1

func listenUAPI(string) (net.Listener, error) {
	return nil, errors.New("not supported on this system")
}
