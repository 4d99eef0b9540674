package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

func main() {
	n := flag.Int("n", 3, "pairs at a time")
	only := flag.String("only", "", `"KIND" or "KIND x KIND": try only the pairs with these`)
	out := flag.String("o", "", "write the table to this file")
	logs := flag.String("logs", "", "keep the logs and the packets of every pair in this folder")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: grid [-n 3] [-only NAMES] [-o GRID.md] [-logs DIR] path/to/meshd")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	good, err := grid(ctx, flag.Arg(0), *n, *only, *out, *logs)
	if err != nil {
		fmt.Fprintf(os.Stderr, "grid: %v\n", err)
	}
	if err != nil || !good {
		os.Exit(1)
	}
}

func grid(ctx context.Context, bin string, n int, only, out, logs string) (good bool, err error) {
	if bin, err = filepath.Abs(bin); err != nil {
		return false, err
	}
	cells := pick(only)
	if len(cells) == 0 {
		return false, fmt.Errorf("no pair is called %q", only)
	}
	results := runAll(ctx, member{bin: bin}, n, cells, logs)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	good = true
	for _, r := range results {
		good = good && r.asWanted()
	}
	if out == "" {
		return good, nil
	}
	var b strings.Builder
	report(&b, results)
	return good, os.WriteFile(out, []byte(b.String()), 0o644)
}

// pick returns the pairs, by the numbers of their kinds, that bear these names.
func pick(only string) [][2]int {
	var cells [][2]int
	for i, a := range kinds {
		for j, b := range kinds[i:] {
			name := a.name + " x " + b.name
			if only == "" || only == a.name || only == b.name || only == name {
				cells = append(cells, [2]int{i, i + j})
			}
		}
	}
	return cells
}

// oneLimit ends a pair that hangs.
const oneLimit = time.Minute

// runAll tries pairs, n at a time, and tells of each as it ends.
func runAll(ctx context.Context, m member, n int, cells [][2]int, logs string) []result {
	results := make([]result, len(cells))
	var g errgroup.Group
	g.SetLimit(n)
	for i, c := range cells {
		g.Go(func() error {
			if ctx.Err() != nil {
				return nil
			}
			ctx, cancel := context.WithTimeout(ctx, slowness*oneLimit)
			defer cancel()
			results[i] = run(ctx, m, c[0], c[1], logs)
			fmt.Println(line(results[i]))
			return nil
		})
	}
	g.Wait()
	return results
}

// line is a result for a person who watches.
func line(r result) string {
	mark := " "
	if !r.asWanted() {
		mark = "✗"
	}
	s := fmt.Sprintf("%s %-15s × %-15s", mark, kinds[r.row].name, kinds[r.column].name)
	if r.err != nil {
		return fmt.Sprintf("%s error: %v", s, r.err)
	}
	if r.got == straight {
		s += fmt.Sprintf(" %-14s after %7s, both ways %7s", r.got, short(r.toFirst), short(r.toDirect))
	} else {
		s += fmt.Sprintf(" %-14s %32s", r.got, "")
	}
	s += fmt.Sprintf("  talk after %7s, probes %4d, after 3 s %4d, by the hub %3d", short(r.toTalk), r.probes, r.late, r.signals)
	if !r.asWanted() {
		s += fmt.Sprintf("  wanted %v; %s", r.want, r.note)
	}
	return s
}
