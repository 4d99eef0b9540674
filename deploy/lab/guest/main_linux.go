package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// exitGuest is the code for a failure of the guest, not of its program.
const exitGuest = 125

// settings are the command line.
type settings struct {
	kernel  string
	timeout time.Duration
	memory  int // MiB
	icount  bool
	cpu     string
	guests  int
	env     list
	add     list
	program []string
}

// list is a flag that may be given more than once.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func main() {
	if os.Getpid() == 1 {
		beInit()
		return
	}
	var s settings
	flag.StringVar(&s.kernel, "kernel", "", "folder of an unpacked linux-image package")
	flag.DurationVar(&s.timeout, "timeout", 4*time.Minute, "end the guest after this")
	flag.IntVar(&s.memory, "memory", 1536, "MiB of the guest")
	flag.BoolVar(&s.icount, "icount", false, "have the guest's clock count the instructions of one processor")
	flag.StringVar(&s.cpu, "cpu", "max", "model of the processor, as the emulator knows them")
	flag.IntVar(&s.guests, "guests", 1, "machines that run the program side by side")
	flag.Var(&s.env, "env", "NAME=VALUE for the program; may be repeated")
	flag.Var(&s.add, "add", "FILE or FILE:PATH to have in the guest; may be repeated")
	flag.Parse()
	s.program = flag.Args()
	if s.kernel == "" || len(s.program) == 0 || s.guests < 1 {
		fmt.Fprintln(os.Stderr, "usage: guest -kernel DIR [flags] PROGRAM [ARGUMENT...]")
		flag.PrintDefaults()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, s)
	if err != nil {
		fmt.Fprintf(os.Stderr, "guest: %v\n", err)
		code = exitGuest
	}
	stop()
	os.Exit(code)
}

// run builds the guests' memory, boots them, and returns the first exit code of
// their programs that is not 0.
func run(ctx context.Context, s settings) (int, error) {
	image, err := findKernel(s.kernel)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "meshd-guest-")
	if err != nil {
		return 0, fmt.Errorf("make a folder for the guest: %w", err)
	}
	defer os.RemoveAll(dir)
	initrd := filepath.Join(dir, "initrd")
	if err := writeInitrd(initrd, s); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	guests := make([]guest, s.guests)
	var booted sync.WaitGroup
	for i := range guests {
		g := &guests[i]
		*g = guest{share: fmt.Sprintf("%d/%d", i+1, s.guests), out: &g.said}
		if i == 0 {
			g.out = os.Stdout
		}
		booted.Go(func() { g.run(ctx, dir, image, initrd, s) })
	}
	booted.Wait()
	var code int
	for i := range guests {
		g := &guests[i]
		os.Stdout.Write(g.said.Bytes())
		if g.err != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", g.share, g.err))
		}
		if code == 0 {
			code = g.code
		}
	}
	if s.guests > 1 {
		for _, g := range guests {
			fmt.Printf("guest %s: exit code %d after %v\n", g.share, g.code, g.took.Round(time.Second))
		}
	}
	return code, err
}

// guest is one of the machines that run side by side. What the first says is printed
// at once, what the others say after it.
type guest struct {
	share string // which of them it is: I/N
	out   io.Writer
	said  bytes.Buffer
	code  int
	err   error
	took  time.Duration
}

func (g *guest) run(ctx context.Context, dir, image, initrd string, s settings) {
	begun := time.Now()
	g.code, g.err = g.boot(ctx, dir, image, initrd, s)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		g.err = fmt.Errorf("not done within %v", s.timeout)
	}
	if g.err != nil {
		g.code = exitGuest
	}
	g.took = time.Since(begun)
}

// findKernel returns the one kernel below an unpacked package.
func findKernel(dir string) (string, error) {
	found, err := filepath.Glob(filepath.Join(dir, "boot/vmlinuz-*"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("want one kernel in %s/boot, have %v: run deploy/tools.sh guest", dir, found)
	}
	return found[0], nil
}
