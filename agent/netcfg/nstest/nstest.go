//go:build linux

// Package nstest runs a package's tests in namespaces of their own, so that they
// may do to the network what they like. It is for tests only.
//
//	func TestMain(m *testing.M) { nstest.Main(m) }
package nstest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inside marks the process that runs in the namespaces.
const inside = "MESHD_NSTEST_INSIDE"

// Main starts the test binary again in a network and a mount namespace of its
// own (and a user namespace, unless root), where it is root and the whole
// process, every thread of it, sees only a loopback that is down and an empty
// /run. It exits the process.
func Main(m *testing.M) {
	if os.Getenv(inside) != "" {
		if err := setUp(); err != nil {
			fail(err)
		}
		os.Exit(m.Run())
	}
	// The child dies with the thread that made it.
	runtime.LockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	err := cmd.Run()
	if cmd.ProcessState == nil {
		fail(fmt.Errorf("these tests need namespaces of their own, run them as root: %v", err))
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

// setUp hides the machine's /run: sockets made there by a test are its own. It
// says at once what every test would stumble over.
func setUp() error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make mounts private: %v", err)
	}
	if err := unix.Mount("nstest", "/run", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount on /run: %v", err)
	}
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("these tests need TUN devices, run them as root: %v", err)
	}
	return tun.Close()
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "nstest:", err)
	os.Exit(1)
}

// IP runs ip(8) with args, split at spaces, and fails the test if it fails.
func IP(t testing.TB, args string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// Veth makes a pair of links, name and name+"p", which are up and removed after
// the test.
func Veth(t testing.TB, name string) {
	t.Helper()
	IP(t, "link add "+name+" type veth peer name "+name+"p")
	t.Cleanup(func() { exec.Command("ip", "link", "del", name).Run() })
	IP(t, "link set "+name+" up")
	IP(t, "link set "+name+"p up")
}
