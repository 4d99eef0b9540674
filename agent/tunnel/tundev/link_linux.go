package tundev

import (
	"errors"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

// groups are of links, and of whether they forward.
const groups = unix.RTMGRP_LINK | 1<<(unix.RTNLGRP_IPV4_NETCONF-1) | 1<<(unix.RTNLGRP_IPV6_NETCONF-1)

// listenLinks opens a socket on which the kernel tells of changes of links.
func listenLinks() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

// Events implements [tun.Device]: the link went up, went down, or has perhaps
// another MTU. The channel is closed when Watch has returned.
func (d *Device) Events() <-chan tun.Event { return d.events }

// Watch sends events until Close. It is run once; who reads Events reads until
// the channel is closed.
func (d *Device) Watch() {
	defer close(d.events)
	buf := make([]byte, 1<<16)
	for up := false; ; {
		n, err := d.link.Read(buf)
		switch {
		case errors.Is(err, unix.ENOBUFS): // news was lost
			d.lookForward()
			if !d.send(tun.EventMTUUpdate) {
				return
			}
			continue
		case err != nil:
			return
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			continue
		}
		d.lookForward()
		for _, m := range messages {
			flags, ours := d.linkFlags(m)
			if !ours {
				continue
			}
			e := tun.Event(tun.EventMTUUpdate)
			if now := flags&unix.IFF_RUNNING != 0; now && !up {
				e, up = e|tun.EventUp, true
			} else if !now && up {
				e, up = e|tun.EventDown, false
			}
			if !d.send(e) {
				return
			}
		}
	}
}

// linkFlags returns the flags in news of our link.
func (d *Device) linkFlags(m syscall.NetlinkMessage) (flags uint32, ours bool) {
	if m.Header.Type != unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg {
		return 0, false
	}
	info := (*unix.IfInfomsg)(unsafe.Pointer(&m.Data[0]))
	return info.Flags, int(info.Index) == d.index
}

// send returns false after Close.
func (d *Device) send(e tun.Event) bool {
	select {
	case d.events <- e:
		return true
	case <-d.closed:
		return false
	}
}
