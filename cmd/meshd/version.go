package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"meshd/agent/localapi"
)

func (a *app) versionCommand() *cobra.Command {
	var t target
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the versions of this command and of the running daemon",
		Example: "  meshd version --json",
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			answer := struct {
				Client string            `json:"client"`
				Daemon *localapi.Version `json:"daemon"` // null: none is running
			}{Client: a.version}
			daemon, err := t.client().Version(cmd.Context())
			switch {
			case err == nil:
				answer.Daemon = &daemon
			case !errors.Is(err, localapi.ErrNotRunning):
				a.say("daemon: %s", explain(err).sentence)
			}
			if asJSON {
				return printJSON(a.stdout, answer)
			}
			fmt.Fprintf(a.stdout, "meshd %s\n", a.version)
			if answer.Daemon != nil {
				fmt.Fprintf(a.stdout, "daemon %s (pid %d)\n", daemon.Version, daemon.PID)
			}
			return nil
		},
	}
	t.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}
