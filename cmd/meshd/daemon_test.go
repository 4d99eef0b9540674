package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"meshd/agent/localapi"
)

// actAsDaemon makes the test program play the meshd that is started in the
// background: "well", or as a sentence with which it fails.
const actAsDaemon = "MESHD_TEST_DAEMON"

func beDaemon() {
	fmt.Fprintln(os.Stderr, "args", os.Args[1:], "join", os.Getenv("MESHD_JOIN") != "")
	if how := os.Getenv(actAsDaemon); how != "well" {
		fmt.Fprintf(os.Stderr, "meshd: %s\nhint: none\n", how)
		os.Exit(exitFailed)
	}
	socket, _ := strings.CutPrefix(os.Args[len(os.Args)-1], "--socket=")
	ln, err := localapi.Listen(socket)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	server := &localapi.Server{Backend: &fakeDaemon{end: cancel}, Version: "spawned", Log: slog.New(slog.DiscardHandler)}
	if err := server.Run(ctx, ln); err != nil {
		panic(err)
	}
	os.Exit(exitDone)
}

func TestSpawn(t *testing.T) {
	b := newBench(t)
	socket := filepath.Join(b.dir, "meshd.sock")
	d := daemon{mesh: "home", state: filepath.Join(b.dir, "made"), socket: socket, flags: []string{"--port=7", "--socket=" + socket}}
	t.Setenv("MESHD_JOIN", goodJoin)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // else a daemon under -race lingers for a second

	t.Log("it starts, answers, and knows nothing of the secret")
	t.Setenv(actAsDaemon, "well")
	if err := d.spawn(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := localapi.NewClient(socket)
	if v, err := c.Version(t.Context()); err != nil || v.Version != "spawned" || v.PID == os.Getpid() {
		t.Errorf("who answers is %+v, %v", v, err)
	}
	log, err := os.ReadFile(filepath.Join(d.state, "meshd.log"))
	if want := fmt.Sprintf("args [up --foreground --mesh=home --port=7 --socket=%s] join false\n", socket); err != nil || string(log) != want {
		t.Errorf("it logged %q, %v; want %q", log, err, want)
	}
	if err := c.Down(t.Context()); err != nil {
		t.Fatal(err)
	}

	t.Log("it fails, and its last words are ours")
	t.Setenv(actAsDaemon, "no TUN")
	if p := explain(d.spawn(t.Context())); p.sentence != "no TUN" || p.hint != "none" {
		t.Errorf("failed with %+v", p)
	}

	t.Log("its state folder cannot be made")
	d.state = "/dev/null/x"
	if p := explain(d.spawn(t.Context())); p.sentence != "start the daemon: mkdir /dev/null: not a directory" || p.hint == "" {
		t.Errorf("failed with %+v", p)
	}

	t.Log("the user has no patience")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.state = b.dir
	if err := d.spawn(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("failed with %v, want context.Canceled", err)
	}
}
