// Command bench measures meshd in a lab and prints what it found, as text and,
// with -json FILE, as a file. Throughput is given as ratios to bare wireguard-go
// in the same run, in turns, because machines are shared and drift.
//
//	bench [-json FILE] [-only throughput,fallback,relays,times,rest,peers,kernel] [-guest COMMAND] path/to/meshd path/to/wireguard-go
//	bench -only soak -soak 1h path/to/meshd path/to/wireguard-go
//
// For the kernel's WireGuard COMMAND runs a program in a guest (see ../guest).
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Figure is one measured number.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Note  string  `json:"note,omitempty"`
}

type bench struct {
	ctx          context.Context
	meshd, plain string        // binaries
	duration     time.Duration // of a soak
	guest        string        // words that run a program in a guest; "": there is none
	figures      []Figure
}

const allParts = "throughput,fallback,relays,times,rest,peers,kernel"

func main() {
	file := flag.String("json", "", "also write the figures to this file")
	only := flag.String("only", allParts, "which measurements to make")
	guest := flag.String("guest", "", "`COMMAND` that runs a program in a guest, for the part that is called kernel")
	inside := flag.Bool("inside", false, "instead, be what runs in the guest, for the meshd that is the argument")
	duration := flag.Duration("soak", 10*time.Minute, "how long a soak lasts")
	ends := flag.Bool("exchange", false, "instead, be one end of a soak: the arguments are two addresses")
	idle := flag.Int("join", 0, "instead, make this many members with the join string that is the argument")
	flag.Parse()
	if flag.NArg() != 2 && *idle == 0 && !*inside {
		fmt.Fprintln(os.Stderr, "usage: bench [-json FILE] [-only "+allParts+"] [-guest COMMAND] path/to/meshd path/to/wireguard-go")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *idle > 0 {
		if err := join(ctx, *idle, flag.Arg(0)); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %v\n", err)
			os.Exit(1)
		}
		return
	}
	if *ends {
		if err := exchange(ctx, *duration, flag.Arg(0), flag.Arg(1)); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %v\n", err)
			os.Exit(1)
		}
		return
	}
	b := &bench{ctx: ctx, guest: *guest, duration: *duration}
	if *inside {
		b.meshd = flag.Arg(0)
		if err := b.inside(); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %v\n", err)
			os.Exit(1)
		}
		return
	}
	if err := b.run(flag.Arg(0), flag.Arg(1), strings.Split(*only, ","), *file); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func (b *bench) run(meshd, plain string, only []string, file string) error {
	var err error
	if b.meshd, err = filepath.Abs(meshd); err != nil {
		return err
	}
	if b.plain, err = filepath.Abs(plain); err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		run  func() error
	}{{"throughput", b.throughput}, {"fallback", b.fallback}, {"relays", b.relays}, {"times", b.times}, {"rest", b.rest}, {"peers", b.peers}, {"kernel", b.kernel}, {"soak", b.soak}} {
		if !slices.Contains(only, part.name) {
			continue
		}
		if err := part.run(); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	if file == "" {
		return nil
	}
	out, err := json.MarshalIndent(b.figures, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(out, '\n'), 0o644)
}

// add records a figure and prints it.
func (b *bench) add(name string, value float64, unit, note string) {
	b.figures = append(b.figures, Figure{name, value, unit, note})
	fmt.Printf("%-52s %10.2f %-8s %s\n", name, value, unit, note)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
