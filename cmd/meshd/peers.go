package main

import (
	"github.com/spf13/cobra"

	"meshd/agent/localapi"
)

func (a *app) peersCommand() *cobra.Command {
	var t target
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "peers",
		Short: "List the other members and the paths to them",
		Example: `  meshd peers
  meshd peers --json | jq -r '.[].name'`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := t.client().Status(cmd.Context())
			switch {
			case err != nil:
				return err
			case asJSON:
				return printJSON(a.stdout, append([]localapi.Peer{}, s.Peers...)) // [], never null
			}
			a.printPeers(a.stdout, s.Peers)
			return nil
		},
	}
	t.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}
