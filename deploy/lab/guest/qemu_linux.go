package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// verdict is the line by which the guest tells how its program ended.
const verdict = "exit "

// shareEnv names the variable that tells a program which of the guests it is in.
const shareEnv = "GUEST_SHARE"

// boot runs the emulator until the guest turns itself off, and returns the exit
// code that it told.
func (g *guest) boot(ctx context.Context, dir, kernel, initrd string, s settings) (int, error) {
	told := filepath.Join(dir, "verdict."+strings.ReplaceAll(g.share, "/", "."))
	processors, clock := []string{"-accel", "tcg,thread=multi", "-smp", "2"}, "tsc=unstable"
	if s.icount {
		// 2 ns an instruction; while there is none to do, time leaps. The processor's
		// counter of cycles is read for less than any other clock.
		processors, clock = []string{"-accel", "tcg,thread=single", "-smp", "1", "-icount", "shift=1,sleep=off"}, "tsc=reliable"
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", append(processors, "-cpu", s.cpu, "-m", strconv.Itoa(s.memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none",
		"-serial", "stdio", "-serial", "file:"+told,
		"-kernel", kernel, "-initrd", initrd,
		// A panic ends the guest at once: -no-reboot makes an exit of it. On a busy host
		// the kernel's check of its timer fails, and that would be one. The emulator
		// translates code by its address: a library that is elsewhere in each process
		// would be translated anew for each. What the kernel doesn't know is put into
		// the environment of its first process.
		"-append", "console=ttyS0 quiet loglevel=4 panic=-1 no_timer_check mitigations=off audit=0 norandmaps init_on_alloc=0 "+clock+" "+shareEnv+"="+g.share)...)
	tail := &lastLines{to: g.out}
	cmd.Stdout, cmd.Stderr = tail, os.Stderr
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, fmt.Errorf("run the emulator: %w", err)
	}
	text, err := os.ReadFile(told)
	if err != nil {
		return 0, fmt.Errorf("read how the guest ended: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if digits, ok := strings.CutPrefix(strings.TrimSpace(line), verdict); ok {
			return strconv.Atoi(digits)
		}
	}
	return 0, fmt.Errorf("the guest ended before its program did; its last words:\n%s", tail.text())
}

// lastLines passes on what a serial line says, and remembers the end of it.
type lastLines struct {
	to   io.Writer
	kept []byte
}

const keptWords = 2048

// Write drops the carriage returns of the line.
func (l *lastLines) Write(b []byte) (int, error) {
	text := bytes.ReplaceAll(b, []byte("\r"), nil)
	l.kept = append(l.kept, text...)
	l.kept = l.kept[max(0, len(l.kept)-keptWords):]
	_, err := l.to.Write(text)
	return len(b), err
}

func (l *lastLines) text() string { return string(l.kept) }
