package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// beInit is the guest's first process. It ends by turning the guest off.
func beInit() {
	code, err := serve()
	if err != nil {
		fmt.Printf("guest: %v\n", err)
		code = exitGuest
	}
	tell(code)
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil { // which ends the emulator
		fmt.Printf("guest: turn off: %v\n", err)
	}
}

// tell says how the program ended, on the second serial line. Without a word the
// host takes it for a crash.
func tell(code int) {
	line, err := os.OpenFile("/dev/ttyS1", os.O_WRONLY, 0)
	if err != nil {
		fmt.Printf("guest: %v\n", err)
		return
	}
	fmt.Fprintf(line, "%s%d\n", verdict, code)
	if err := unix.IoctlSetInt(int(line.Fd()), unix.TCSBRK, 1); err != nil { // wait until it is sent
		fmt.Printf("guest: %v\n", err)
	}
	line.Close()
}

// serve readies the guest and runs the program.
func serve() (int, error) {
	if err := mountAll(); err != nil {
		return 0, err
	}
	var p plan
	text, err := os.ReadFile(planFile)
	if err != nil {
		return 0, err
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return 0, fmt.Errorf("read %s: %w", planFile, err)
	}
	for _, m := range p.Modules {
		if err := loadModule(m); err != nil {
			return 0, err
		}
	}
	if err := exec.Command("/bin/ip", "link", "set", "lo", "up").Run(); err != nil {
		return 0, fmt.Errorf("set up the loopback interface: %w", err)
	}
	cmd := exec.Command(p.Program[0], p.Program[1:]...)
	cmd.Dir = "/tmp"
	cmd.Env = append([]string{"PATH=/bin", "HOME=/root", "TMPDIR=/tmp", "GOTRACEBACK=all", shareEnv + "=" + os.Getenv(shareEnv)}, p.Env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stdout
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode(), nil
	case err != nil:
		return 0, fmt.Errorf("run %s: %w", p.Program[0], err)
	}
	return 0, nil
}

func mountAll() error {
	for _, m := range []struct{ what, where string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"},
	} {
		if err := unix.Mount(m.what, m.where, m.what, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.where, err)
		}
	}
	for link, target := range map[string]string{"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(target, link); err != nil {
			return err
		}
	}
	return os.Setenv("PATH", "/bin")
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("load module: %w", err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w", path, err)
	}
	return nil
}
