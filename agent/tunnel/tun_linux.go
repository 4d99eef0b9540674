package tunnel

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"

	"meshd/agent/tunnel/tundev"
	"meshd/agent/tunnel/vnet"
)

const tunPath = "/dev/net/tun"

const hintPrivilege = "run meshd as root, or give it CAP_NET_ADMIN (in a container: --cap-add NET_ADMIN --device /dev/net/tun)"

// openTUN makes a TUN device of this name with virtio headers, so that the
// kernel passes bundles of segments (GSO, GRO). A name that exists is refused:
// IFF_TUN_EXCL makes the kernel check that and create in one step.
func openTUN(name string, mtu int, log *slog.Logger) (tun.Device, error) {
	offloads, forward, err := wantedOffloads(os.Getenv(offloadEnv))
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, openError(err)
	}
	if err := createTUN(fd, name); err != nil {
		unix.Close(fd)
		return nil, createError(name, err)
	}
	// Not earlier: the netpoller takes a descriptor without a device for broken.
	file := os.NewFile(uintptr(fd), tunPath)
	dev, err := tundev.New(file, tundev.Config{MTU: mtu, Offloads: offloads, ForwardUDP: forward, Log: log})
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("set up interface %q: %v", name, err)
	}
	return dev, nil
}

// offloadEnv switches superpackets off, for kernels that corrupt them, and for
// hosts that forward into tunnels which can't take those of UDP.
const offloadEnv = "MESHD_TUN_OFFLOAD"

// wantedOffloads reads the value of offloadEnv: what may be joined, and whether UDP
// may be even where the host forwards into tunnels that can't take it.
func wantedOffloads(value string) (o vnet.Offloads, forward bool, err error) {
	switch value {
	case "", "auto":
		return vnet.Offloads{TCP: true, UDP: true}, false, nil
	case "on":
		return vnet.Offloads{TCP: true, UDP: true}, true, nil
	case "tcp":
		return vnet.Offloads{TCP: true}, false, nil
	case "off":
		return vnet.Offloads{}, false, nil
	}
	return vnet.Offloads{}, false, &Error{
		Message: fmt.Sprintf("%s is %q, which is not a way to use the interface", offloadEnv, value),
		Hint:    "use auto, on, tcp or off",
	}
}

func createTUN(fd int, name string) error {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
	return unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
}

// openError explains why the door to all TUN devices does not open.
func openError(err error) error {
	e := &Error{Message: fmt.Sprintf("open %s: %v", tunPath, err), cause: err}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		e.Message = fmt.Sprintf("this system has no TUN devices: open %s: %v", tunPath, err)
		e.Hint = "load the module with `modprobe tun` (in a container: --device /dev/net/tun)"
	case errors.Is(err, fs.ErrPermission):
		e.Hint = hintPrivilege
	}
	return e
}

// createError explains why the interface could not be made.
func createError(name string, err error) error {
	e := &Error{Message: fmt.Sprintf("create interface %q: %v", name, err), cause: err}
	switch {
	case errors.Is(err, fs.ErrPermission):
		e.Hint = hintPrivilege
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST), errors.Is(err, unix.EINVAL):
		// EINVAL: the name belongs to a device of another type.
		if kind, ok := existing(name); ok {
			e.Message = fmt.Sprintf("interface %q exists already (%s) and is not ours to take", name, kind)
			e.Hint = "is another meshd running? Otherwise " + hintInterface
		}
	}
	return e
}

// existing says what the interface of this name is.
func existing(name string) (kind string, ok bool) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return "", false
	}
	switch kind := link.Type(); kind {
	case "tuntap":
		return "a TUN device of another program", true
	case "device":
		return "a network card", true
	default:
		return "type " + kind, true
	}
}
