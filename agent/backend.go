package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"meshd/agent/localapi"
	"meshd/coordinator/api"
)

// pingTimeout is how long one ping waits for its answer.
const pingTimeout = 5 * time.Second

// upRequest is a wish from the local API, checked as far as it can be without
// the loop.
type upRequest struct {
	join     *api.JoinString
	hostname string
	done     chan error // capacity 1
}

var errEnding = &localapi.Error{Message: "the daemon is ending", Hint: "say it again"}

// Up implements [localapi.Backend].
func (a *Agent) Up(ctx context.Context, req localapi.UpRequest) error {
	up := upRequest{hostname: req.Hostname, done: make(chan error, 1)}
	if up.hostname == "" {
		up.hostname = a.cfg.Hostname
	}
	if req.Join != "" {
		j, err := parseJoin(req.Join)
		if err != nil {
			return err
		}
		up.join = &j
	}
	select {
	case a.ups <- up:
	case <-a.ended:
		return errEnding
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-up.done:
		return err
	case <-a.ended:
		return lastWord(up.done)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lastWord is the loop's answer if it gave one before it ended.
func lastWord(done <-chan error) error {
	select {
	case err := <-done:
		return err
	default:
		return errEnding
	}
}

// Down implements [localapi.Backend].
func (a *Agent) Down(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case a.downs <- done:
		<-done
		return nil
	case <-a.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ping implements [localapi.Backend].
func (a *Agent) Ping(ctx context.Context, name string) (localapi.PingReply, error) {
	v := a.view.Load()
	p, err := v.find(name)
	if err != nil {
		return localapi.PingReply{}, err
	}
	if p.Plain {
		return localapi.PingReply{}, localapi.WithHint(fmt.Errorf("%s runs WireGuard without meshd, which answers no pings of ours", p.Name),
			fmt.Sprintf("ping %s", p.Addresses[0]))
	}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	pong, err := v.plane.punch.Ping(ctx, p.Key)
	if errors.Is(err, context.DeadlineExceeded) {
		return localapi.PingReply{}, fmt.Errorf("no answer from %s within %v", p.Name, pingTimeout)
	}
	if err != nil {
		return localapi.PingReply{}, fmt.Errorf("ping %s: %w", p.Name, err)
	}
	return pingReply(p, pong), nil
}
