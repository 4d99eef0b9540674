package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"meshd/agent"
	"meshd/agent/localapi"
)

const startPoll = 5 * time.Millisecond

// runAgent is the daemon: the agent, until ctx ends or `meshd down`.
func runAgent(ctx context.Context, c agent.Config) error {
	chooseProcs()
	a, err := agent.New(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group errgroup.Group
	group.Go(func() error {
		defer cancel()
		return a.Run(ctx)
	})
	group.Go(func() error {
		if answers(ctx, c.Socket) == nil {
			notifyReady()
		}
		return nil
	})
	group.Go(func() error {
		tidyMemory(ctx)
		return nil
	})
	return group.Wait()
}

// answers waits until a daemon answers on the socket.
func answers(ctx context.Context, socket string) error {
	client := localapi.NewClient(socket)
	for {
		_, err := client.Version(ctx)
		if !errors.Is(err, localapi.ErrNotRunning) && !errors.Is(err, localapi.ErrHungUp) {
			return err
		}
		if !pause(ctx, startPoll) {
			return fmt.Errorf("wait for the daemon at %q: %w", socket, ctx.Err())
		}
	}
}

// startDaemon starts a daemon in the background: the systemd unit if it is
// installed and does what is asked for, else a process of its own.
func startDaemon(ctx context.Context, d daemon) error {
	if len(d.flags) == 0 {
		if found, err := startUnit(ctx, d.mesh); found {
			return err
		}
	}
	return d.spawn(ctx)
}

// spawn starts this program again, as a daemon that outlives us, and returns
// when it answers or has failed.
func (d daemon) spawn(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the meshd program: %v", err)
	}
	log, offset, err := d.openLog()
	if err != nil {
		return failure("run as root, or choose another folder by --state", "start the daemon: %v", err)
	}
	defer log.Close()
	cmd := exec.Command(self, append([]string{"up", "--foreground", "--mesh=" + d.mesh}, d.flags...)...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = filepath.VolumeName(self)+string(filepath.Separator), daemonEnv(), detached()
	cmd.Stdout, cmd.Stderr = log, log
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the daemon: %v", err)
	}
	died, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // ends with the daemon, or with us
		cmd.Wait()
		stop()
	}()
	err = answers(died, d.socket)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if _, err := localapi.NewClient(d.socket).Version(ctx); err == nil {
		return nil // another daemon was faster
	}
	return lastWords(log.Name(), offset)
}

// openLog opens the daemon's log for appending, and tells where the end is.
func (d daemon) openLog() (f *os.File, offset int64, err error) {
	if err := os.MkdirAll(d.state, 0o700); err != nil {
		return nil, 0, err
	}
	f, err = os.OpenFile(filepath.Join(d.state, logFile), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// daemonEnv leaves the secret out: it reaches the daemon by the socket, and
// nobody finds it in a list of processes.
func daemonEnv() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "MESHD_JOIN=") {
			env = append(env, e)
		}
	}
	return env
}

// lastWords is the error with which a daemon ended, from its log.
func lastWords(path string, offset int64) error {
	text, err := os.ReadFile(path)
	if err != nil || int64(len(text)) < offset {
		return failure("see "+path, "the daemon ended at once")
	}
	p := &problem{code: exitFailed}
	for line := range strings.Lines(string(text[offset:])) {
		line = strings.TrimSpace(line)
		if s, ok := strings.CutPrefix(line, "meshd: "); ok {
			p.sentence = s
		}
		if s, ok := strings.CutPrefix(line, "hint: "); ok {
			p.hint = s
		}
	}
	if p.sentence == "" {
		return failure("see "+path, "the daemon ended at once")
	}
	return p
}
