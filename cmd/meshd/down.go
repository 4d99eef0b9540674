package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"meshd/agent/localapi"
)

// downTimeout is more than a daemon needs to take leave of a hub that is away.
const downTimeout = 30 * time.Second

func (a *app) downCommand() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Take the mesh down and end its daemon",
		Long: `Take the mesh down and end its daemon.

Interface, addresses and routes are gone when it returns. Membership stays:
"meshd up" brings the mesh back without a join string.`,
		Example: "  meshd down",
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), downTimeout)
			defer cancel()
			err := t.client().Down(ctx)
			if errors.Is(err, localapi.ErrNotRunning) {
				a.say("mesh %s is down already", t.mesh)
				return nil
			}
			return err
		},
	}
	t.flags(cmd)
	return cmd
}
