//go:build !linux

package tunnel

import (
	"fmt"
	"log/slog"
	"runtime"
	"strings"

	"golang.zx2c4.com/wireguard/tun"
)

// openTUN makes wireguard-go's TUN of this system. macOS names its devices
// itself: any other name than utun* becomes the next free one.
func openTUN(name string, mtu int, _ *slog.Logger) (tun.Device, error) {
	if runtime.GOOS == "darwin" && !strings.HasPrefix(name, "utun") {
		name = "utun"
	}
	dev, err := tun.CreateTUN(name, mtu)
	if err != nil {
		return nil, &Error{
			Message: fmt.Sprintf("create interface %q: %v", name, err),
			Hint:    "run meshd as root (Windows: as administrator, with wintun.dll beside meshd.exe)",
			cause:   err,
		}
	}
	return dev, nil
}
