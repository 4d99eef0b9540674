package mesh

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"meshd/agent/localapi"
	"meshd/deploy/lab"
)

// Agent is a member on a host of the lab.
type Agent struct {
	Host *lab.Host
	// Backend is the kind of WireGuard that Up asks for; "": meshd chooses.
	Backend string
	bin     string
}

// NewAgent says which host is to be a member. Up makes it one.
func NewAgent(host *lab.Host, bin string) *Agent { return &Agent{Host: host, bin: bin} }

// Command runs `meshd ...` on the agent's host.
func (a *Agent) Command(ctx context.Context, args ...string) (string, error) {
	out, err := a.Host.Run(ctx, a.bin, args...)
	return strings.TrimSpace(out), err
}

// Up runs `meshd up`, with a join string or without, and returns what it printed.
func (a *Agent) Up(ctx context.Context, args ...string) (string, error) {
	up := []string{"up"}
	if a.Backend != "" {
		up = append(up, "--backend", a.Backend)
	}
	return a.Command(ctx, append(up, args...)...)
}

// Down runs `meshd down`.
func (a *Agent) Down(ctx context.Context) error {
	_, err := a.Command(ctx, "down")
	return err
}

// Kill ends the daemon as a crash does.
func (a *Agent) Kill(ctx context.Context) error {
	_, err := a.Host.Run(ctx, "pkill", "-KILL", "-x", filepath.Base(a.bin))
	return err
}

// PID is the daemon's process number outside the lab.
func (a *Agent) PID() (int, error) { return a.Host.Process(filepath.Base(a.bin)) }

// Status reads `meshd status --json`.
func (a *Agent) Status(ctx context.Context) (*localapi.Status, error) {
	out, err := a.Command(ctx, "status", "--json")
	if err != nil {
		return nil, err
	}
	var s localapi.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return nil, fmt.Errorf("read status of %s: %w", a.Host.Name, err)
	}
	return &s, nil
}

// Peer reads what `meshd status` says of one other member.
func (a *Agent) Peer(ctx context.Context, name string) (*localapi.Peer, error) {
	s, err := a.Status(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range s.Peers {
		if p.Name == name {
			return &p, nil
		}
	}
	return nil, fmt.Errorf("%s knows no member %q", a.Host.Name, name)
}

// AwaitPath waits until the agent's path to a member is one of those given.
func (a *Agent) AwaitPath(ctx context.Context, limit time.Duration, peer string, want ...string) error {
	return Await(ctx, limit, func() error {
		p, err := a.Peer(ctx, peer)
		if err != nil {
			return err
		}
		for _, w := range want {
			if p.Path == w {
				return nil
			}
		}
		return fmt.Errorf("path from %s to %s is %q (%s), want %s", a.Host.Name, peer, p.Path, p.Reason, strings.Join(want, " or "))
	})
}

// AwaitPing waits until a member answers a ping.
func (a *Agent) AwaitPing(ctx context.Context, limit time.Duration, peer string) error {
	return Await(ctx, limit, func() error {
		_, err := a.Command(ctx, "ping", "-c", "1", "--timeout", "300ms", peer)
		return err
	})
}

// Address is a member's overlay IPv4 address, asked by its name.
func (a *Agent) Address(ctx context.Context, peer string) (string, error) {
	return a.Command(ctx, "ip", "-4", peer)
}

// Log returns what the agent's daemon has said so far.
func (a *Agent) Log() string {
	b, _ := os.ReadFile(filepath.Join(a.Host.Folder(), "var/lib/meshd/meshd/meshd.log"))
	return string(b)
}
