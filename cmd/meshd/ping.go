package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"meshd/agent/localapi"
)

// untilDirectCount bounds --until-direct: what is not direct by then will not be soon.
const untilDirectCount = 30

// pinging is what `meshd ping` was asked for.
type pinging struct {
	peer        string
	count       int
	untilDirect bool
	timeout     time.Duration
	asJSON      bool
}

func (a *app) pingCommand() *cobra.Command {
	var t target
	var p pinging
	cmd := &cobra.Command{
		Use:   "ping PEER",
		Short: "Ask a peer for an answer, and tell which path it took",
		Long: `Ask a peer for an answer, and tell which path it took. PEER is a name or an
overlay address.

The exit code is 1 when no reply came, or none by a direct path if --until-direct
asked for one.`,
		Example: `  meshd ping nas
  meshd ping nas --until-direct`,
		Args:              arguments(1, 1, "PEER"),
		ValidArgsFunction: t.completePeers,
		RunE: func(cmd *cobra.Command, args []string) error {
			p.peer = args[0]
			if p.untilDirect && !cmd.Flags().Changed("count") {
				p.count = untilDirectCount
			}
			if p.count < 1 {
				return usageError(cmd, "count %d: want 1 or more", p.count)
			}
			return a.ping(cmd.Context(), t.client(), p)
		},
	}
	t.flags(cmd)
	cmd.Flags().IntVarP(&p.count, "count", "c", 4, "how many pings, a second apart")
	cmd.Flags().BoolVar(&p.untilDirect, "until-direct", false, fmt.Sprintf("stop at the first direct reply; at most %d pings unless -c says otherwise", untilDirectCount))
	cmd.Flags().DurationVar(&p.timeout, "timeout", 5*time.Second, "how long to wait for a reply")
	cmd.Flags().BoolVar(&p.asJSON, "json", false, "print each reply as a line of JSON")
	return cmd
}

// ping asks, and prints, as often as was wished.
func (a *app) ping(ctx context.Context, c *localapi.Client, p pinging) error {
	replies := 0
	for n := range p.count {
		if n > 0 && !pause(ctx, a.pingEvery) {
			break
		}
		reply, err := pingOnce(ctx, c, p)
		if localapi.HintOf(err) != "" { // no daemon, no such peer: asking again would not help
			return err
		}
		if err != nil {
			a.say("no reply from %s: %s", p.peer, explain(err).sentence)
			continue
		}
		replies++
		if err := a.printReply(reply, p.asJSON); err != nil {
			return err
		}
		if p.untilDirect && reply.Path == "direct" {
			return nil
		}
	}
	switch {
	case replies == 0:
		return failure("meshd status", "%s does not answer", p.peer)
	case p.untilDirect:
		return failure("meshd status", "no direct path to %s after %s", p.peer, plural(p.count, "ping"))
	}
	return nil
}

func pingOnce(ctx context.Context, c *localapi.Client, p pinging) (localapi.PingReply, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	reply, err := c.Ping(ctx, p.peer)
	if errors.Is(err, context.DeadlineExceeded) {
		return reply, failure("", "timed out after %v", p.timeout)
	}
	return reply, err
}

func (a *app) printReply(r localapi.PingReply, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(a.stdout).Encode(r)
	}
	_, err := fmt.Fprintf(a.stdout, "pong from %s (%s) via %s in %s\n", r.Peer, r.Addr, r.Via, millis(r.RTT))
	return err
}

// pause waits, and reports false if ctx ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
