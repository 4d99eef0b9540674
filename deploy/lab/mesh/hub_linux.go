package mesh

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"meshd/deploy/lab"
)

// Hub is a coordinator on a host of the lab.
type Hub struct {
	Host *lab.Host
	bin  string
	proc *exec.Cmd
	log  *os.File
}

// NewHub says which host runs the coordinator. Start starts it.
func NewHub(host *lab.Host, bin string) *Hub { return &Hub{Host: host, bin: bin} }

// Start runs `meshd coordinator serve` and returns when it answers.
func (h *Hub) Start(ctx context.Context, args ...string) error {
	log, err := os.OpenFile(h.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("start the coordinator: %w", err)
	}
	h.log = log
	h.proc = h.Host.Command(context.Background(), h.bin, append([]string{"coordinator", "serve"}, args...)...)
	h.proc.Stdout, h.proc.Stderr = log, log
	if err := h.proc.Start(); err != nil {
		return fmt.Errorf("start the coordinator: %w", err)
	}
	err = Await(ctx, 15*time.Second, func() error {
		_, err := h.Command(ctx, "status")
		return err
	})
	if err != nil {
		return fmt.Errorf("start the coordinator: %w\n%s", err, h.Log())
	}
	return nil
}

// LogFile is where the coordinator's own words go.
func (h *Hub) LogFile() string { return filepath.Join(h.Host.Folder(), "coordinator.log") }

// Log returns what the coordinator has said so far.
func (h *Hub) Log() string {
	b, _ := os.ReadFile(h.LogFile())
	return string(b)
}

// Command runs `meshd coordinator ...` beside the coordinator.
func (h *Hub) Command(ctx context.Context, args ...string) (string, error) {
	out, err := h.Host.Run(ctx, h.bin, append([]string{"coordinator"}, args...)...)
	return strings.TrimSpace(out), err
}

// Join makes a join string.
func (h *Hub) Join(ctx context.Context, flags ...string) (string, error) {
	return h.Command(ctx, append([]string{"key", "create"}, flags...)...)
}

// PID is the coordinator's process number outside the lab.
func (h *Hub) PID() (int, error) { return h.Host.Process(filepath.Base(h.bin)) }

// Stop ends the coordinator politely, Kill without warning.
func (h *Hub) Stop() error { return h.end(syscall.SIGTERM) }

// Kill ends the coordinator as a crash does.
func (h *Hub) Kill() error { return h.end(syscall.SIGKILL) }

func (h *Hub) end(sig syscall.Signal) error {
	defer h.log.Close()
	pid, err := h.PID()
	if err != nil {
		return fmt.Errorf("end the coordinator: %w", err)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		return fmt.Errorf("end the coordinator: %w", err)
	}
	h.proc.Wait() // its status is the signal's
	return nil
}

// awaitEvery is how often Await asks at most.
const awaitEvery = 20 * time.Millisecond

// Await calls f until it returns nil, every 20 ms at most, and gives up with
// its last error. On an emulated machine it rests for longer than f took: what is
// waited for needs the processor more than who asks for it.
func Await(ctx context.Context, limit time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		asked := time.Now()
		err := f()
		if err == nil {
			return nil
		}
		took := time.Since(asked)
		rest := awaitEvery - took
		if os.Getenv(PrebuiltEnv) != "" {
			rest = min(3*took, time.Second)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %v: %w", limit, err)
		case <-time.After(rest):
		}
	}
}
