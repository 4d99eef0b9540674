package tundev

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"

	"meshd/agent/tunnel/vnet"
)

// Device is a TUN device. One goroutine may read; any number may write, each by
// a writer of its own or by Write.
type Device struct {
	file     *os.File
	raw      syscall.RawConn
	index    int // of the link
	offloads vnet.Offloads
	adapt    bool        // split is looked after
	split    atomic.Bool // UDP is written one by one, see lookForward
	log      *slog.Logger

	reader reader
	stock  stockReader

	writing sync.Mutex // guards the following
	writer  *vnet.Coalescer

	link    *os.File // netlink
	events  chan tun.Event
	closed  chan struct{}
	once    sync.Once
	counted struct{ malformed, tooLong, refused atomic.Uint64 }
	warned  [2]sync.Once // of refused TCP, UDP
}

var _ tun.Device = (*Device)(nil)

// Counters are of what did not go as it should, since the device was made.
type Counters struct {
	Malformed uint64 // frames of the kernel's that made no sense, dropped
	TooLong   uint64 // packets that did not fit the buffers given to Read, dropped
	Refused   uint64 // superpackets that the kernel did not take, written packet by packet
}

// Config says how [New] sets a device up.
type Config struct {
	MTU      int           // of the interface
	Offloads vnet.Offloads // wanted; what the kernel can't is left out
	// ForwardUDP joins UDP even where the host forwards into tunnels that can't take
	// it.
	ForwardUDP bool
	Log        *slog.Logger // nil: none
}

// New takes over file, a descriptor of /dev/net/tun that does not block and has
// an interface with IFF_VNET_HDR. It starts nothing: the caller runs [Device.Watch].
// After an error file is the caller's.
func New(file *os.File, c Config) (*Device, error) {
	d := &Device{file: file, log: c.Log, events: make(chan tun.Event), closed: make(chan struct{})}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if d.raw, err = file.SyscallConn(); err != nil {
		return nil, err
	}
	name, err := d.Name()
	if err != nil {
		return nil, err
	}
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	d.index = iface.Index
	if err := d.setMTU(name, c.MTU); err != nil {
		return nil, fmt.Errorf("set mtu %d: %v", c.MTU, err)
	}
	if d.offloads, err = d.setOffloads(c.Offloads); err != nil {
		return nil, err
	}
	d.adapt = d.offloads.UDP && !c.ForwardUDP
	d.reader.init()
	d.writer = d.NewWriter()
	if d.link, err = listenLinks(); err != nil {
		return nil, fmt.Errorf("listen to changes of links: %v", err)
	}
	d.lookForward()
	return d, nil
}

// setOffloads tells the kernel what we take, less and less until it agrees. A
// kernel that knows nothing of it hands us plain packets, and may take no more.
func (d *Device) setOffloads(want vnet.Offloads) (vnet.Offloads, error) {
	const tcp = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
	steps := []struct {
		flags    int
		offloads vnet.Offloads
	}{
		{tcp | unix.TUN_F_TSO_ECN | unix.TUN_F_USO4 | unix.TUN_F_USO6, vnet.Offloads{TCP: true, UDP: true}},
		{tcp | unix.TUN_F_TSO_ECN, vnet.Offloads{TCP: true}},
		{tcp, vnet.Offloads{TCP: true}},
		{0, vnet.Offloads{}},
	}
	var refused error
	for _, s := range steps {
		if s.offloads.TCP && !want.TCP || s.offloads.UDP && !want.UDP {
			continue
		}
		err := d.control(func(fd int) error { return unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, s.flags) })
		if err == nil {
			return s.offloads, nil
		}
		refused = err
	}
	return vnet.Offloads{}, fmt.Errorf("set offloads: %v", refused)
}

// control calls f with the descriptor.
func (d *Device) control(f func(fd int) error) error {
	var err error
	if e := d.raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return os.ErrClosed
	}
	return err
}

// Offloads tells what superpackets are read and written.
func (d *Device) Offloads() vnet.Offloads { return d.offloads }

// Counters returns the counters.
func (d *Device) Counters() Counters {
	return Counters{
		Malformed: d.counted.malformed.Load(),
		TooLong:   d.counted.tooLong.Load(),
		Refused:   d.counted.refused.Load(),
	}
}

// File returns the descriptor.
func (d *Device) File() *os.File { return d.file }

// Name asks the kernel: the interface may have been renamed.
func (d *Device) Name() (string, error) {
	req, err := unix.NewIfreq("")
	if err != nil {
		return "", err
	}
	if err := d.control(func(fd int) error { return unix.IoctlIfreq(fd, unix.TUNGETIFF, req) }); err != nil {
		return "", fmt.Errorf("name of TUN device: %w", err)
	}
	return req.Name(), nil
}

// MTU asks the kernel.
func (d *Device) MTU() (int, error) {
	name, err := d.Name()
	if err != nil {
		return 0, err
	}
	req, err := ioctlLink(name, unix.SIOCGIFMTU, 0)
	if err != nil {
		return 0, fmt.Errorf("mtu of %q: %v", name, err)
	}
	return int(req.Uint32()), nil
}

func (d *Device) setMTU(name string, mtu int) error {
	_, err := ioctlLink(name, unix.SIOCSIFMTU, uint32(mtu))
	return err
}

// ioctlLink asks about a link by a socket, which is how one asks.
func ioctlLink(name string, request uint, value uint32) (*unix.Ifreq, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	req.SetUint32(value)
	return req, unix.IoctlIfreq(fd, request, req)
}

// BatchSize is what wireguard-go likes.
func (d *Device) BatchSize() int { return batchSize }

// batchSize of packets: with 64 wireguard-go passes 15 % less.
const batchSize = 128

// Close ends reads, writes and Watch, and removes the interface. It is
// idempotent.
func (d *Device) Close() error {
	var err error
	d.once.Do(func() {
		close(d.closed)
		d.link.Close()
		err = d.file.Close()
	})
	return err
}
