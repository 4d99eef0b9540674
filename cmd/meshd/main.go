package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"meshd/agent"
	"meshd/agent/netcfg"
	"meshd/dnssd"
)

// version is set by the linker: -X main.version=v1.2.3.
var version string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second Ctrl-C ends us at once
	a := &app{
		stdout:      os.Stdout,
		stderr:      os.Stderr,
		getenv:      os.Getenv,
		version:     buildVersion(),
		now:         time.Now,
		pingEvery:   time.Second,
		pollEvery:   20 * time.Millisecond,
		startDaemon: startDaemon,
		runAgent:    runAgent,
		netcheck:    agent.Netcheck,
		lookup:      netcfg.ReadLookup,
		query:       dnssd.Query,
		coordinate:  coordinate,
	}
	os.Exit(a.run(ctx, os.Args[1:]))
}

// buildVersion is the linker's version, or what the Go toolchain knows of it.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "unknown"
}
