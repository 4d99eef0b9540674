package tunnel

import (
	"fmt"
	"os"

	"golang.zx2c4.com/wireguard/tun"

	"meshd/agent/tunnel/fastpath"
	"meshd/agent/tunnel/filter"
)

// fastEnv switches the fast path off: the device then seals and opens by itself.
const fastEnv = "MESHD_FASTPATH"

// lender is a Transport that can lend packets where it received them.
type lender interface {
	Views() []func(packets [][]byte, peers []Key) (int, error)
}

// newFast returns the fast path between a TUN and a transport. Where there can be
// none it is nil: then reason says why, if that is worth a word.
func newFast(dev tun.Device, t Transport, f *filter.Filter) (fast *fastpath.Path, reason string, err error) {
	switch v := os.Getenv(fastEnv); v {
	case "", "on":
	case "off":
		return nil, "switched off by " + fastEnv, nil
	default:
		return nil, "", &Error{Message: fmt.Sprintf("%s is %q", fastEnv, v), Hint: "use on or off"}
	}
	frames, ok := dev.(fastpath.TUN)
	if _, lends := t.(lender); !ok || !lends {
		return nil, "", nil // not on this system
	}
	fast, err = fastpath.New(frames, t.(fastpath.Transport), f)
	if err != nil {
		return nil, err.Error(), nil
	}
	return fast, "", nil
}
