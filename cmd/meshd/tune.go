package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

const (
	// smallMachine is how many cores a machine may have for the daemon to use one
	// at a time.
	smallMachine = 2
	// firstTidy is when joining is over, and tidyEvery how often memory is tidied
	// from then on: each time costs a few milliseconds.
	firstTidy = 10 * time.Second
	tidyEvery = 2 * time.Minute
)

// chooseProcs keeps the daemon of a small machine on one core at a time, unless
// GOMAXPROCS says otherwise. A packet passes several goroutines; where the other
// core has the application to run, waking it for each hop costs more than it
// brings: on two cores a TCP stream through the tunnel gains about a sixth.
func chooseProcs() {
	if os.Getenv("GOMAXPROCS") == "" && runtime.NumCPU() <= smallMachine {
		runtime.GOMAXPROCS(1)
	}
}

// tidyMemory gives back to the system, until ctx ends, what joining and bursts of
// traffic leave behind. Go by itself keeps as much garbage as there is heap, and
// WireGuard's receive buffers, hardly touched, make that heap look large.
func tidyMemory(ctx context.Context) {
	if !pause(ctx, firstTidy) {
		return
	}
	forgetStart()
	for {
		runtime.GC() // what pools hold survives the first
		debug.FreeOSMemory()
		if !pause(ctx, tidyEvery) {
			return
		}
	}
}
