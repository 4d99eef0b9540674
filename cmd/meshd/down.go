package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"meshd/agent"
	"meshd/agent/localapi"
)

// downTimeout is more than a daemon needs to take leave of a hub that is away.
const downTimeout = 30 * time.Second

func (a *app) downCommand() *cobra.Command {
	var t target
	var state string
	var cleanUp bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Take the mesh down and end its daemon",
		Long: `Take the mesh down and end its daemon.

Interface, addresses, routes and what was told to this machine's resolver are gone
when it returns. Membership stays: "meshd up" brings the mesh back without a join
string.

Where no daemon runs it puts back what one that crashed left changed; with --cleanup
it does only that.`,
		Example: `  meshd down
  meshd down --cleanup     after the daemon was killed, as the systemd unit does`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := agent.CheckMesh(t.mesh); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), downTimeout)
			defer cancel()
			if cleanUp {
				return agent.CleanUp(ctx, t.mesh, state, a.logger())
			}
			err := t.client().Down(ctx)
			if errors.Is(err, localapi.ErrNotRunning) {
				a.say("mesh %s is down already", t.mesh)
				return agent.CleanUp(ctx, t.mesh, state, a.logger())
			}
			return err
		},
	}
	t.flags(cmd)
	cmd.Flags().StringVar(&state, "state", "", "state `DIR` of the daemon (default /var/lib/meshd/NAME of the mesh)")
	cmd.Flags().BoolVar(&cleanUp, "cleanup", false, "only put back what a daemon that crashed left changed on this machine")
	return cmd
}
