package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// veth makes a pair of interfaces, one in each host.
func veth(a *Host, nameA string, b *Host, nameB string) error {
	return a.ip(fmt.Sprintf("link add %s type veth peer name %s netns %s", nameA, nameB, b.pid))
}

// tunIn makes a TUN device inside a host's network namespace.
func tunIn(h *Host, name string) (*os.File, error) {
	var f *os.File
	err := h.inside(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		ifr, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
			unix.Close(fd)
			return fmt.Errorf("make %s: %w", name, err)
		}
		f = os.NewFile(uintptr(fd), name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, h.ip(fmt.Sprintf("link set %s txqueuelen %d", name, queueLen))
}

// ip has the program of that name execute lines inside the host's network namespace,
// all of them by one process. Other hosts are known there by their numbers outside.
func (h *Host) ip(lines string) error {
	return h.inside(func() error {
		if _, err := run(exec.Command("ip", "-batch", "-"), lines); err != nil {
			return fmt.Errorf("set up the network of %s by %q: %w", h.Name, lines, err)
		}
		return nil
	})
}

// sysctl sets values inside the host's network namespace. Those that its kernel does
// not know are none of its concern.
func (h *Host) sysctl(value string, names ...string) error {
	return h.inside(func() error {
		for _, name := range names {
			f, err := os.OpenFile("/proc/sys/net/"+name, os.O_WRONLY, 0)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			_, err = f.WriteString(value)
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
		}
		return nil
	})
}

// inside calls f on a thread of its own that has entered the host's network
// namespace; the thread is thrown away afterwards.
func (h *Host) inside(f func() error) error {
	errs := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread
		ns, err := os.Open("/proc/" + h.pid + "/ns/net")
		if err != nil {
			errs <- err
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			errs <- fmt.Errorf("enter %s: %w", h.Name, err)
			return
		}
		errs <- f()
	}()
	return <-errs
}
