package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"meshd/agent/localapi"
)

func (a *app) dnsStatusCommand() *cobra.Command {
	var t target
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell where the mesh's names are answered, and how to ask",
		Example: `  meshd dns status
  meshd dns status --json | jq -r .server`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := t.client().Status(cmd.Context())
			switch {
			case err != nil:
				return err
			case asJSON:
				return printJSON(a.stdout, s.DNS)
			}
			a.printDNS(s)
			return nil
		},
	}
	t.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}

func (a *app) printDNS(s localapi.Status) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(a.stdout, "%-8s%s\n", name+":", fmt.Sprintf(format, args...))
	}
	if s.DNS.Zone != "" {
		line("zone", "%s", s.DNS.Zone)
	}
	switch {
	case s.DNS.Server != "":
		line("server", "%s, on this machine", s.DNS.Server)
		line("mode", "%s: answers whoever asks it, and leaves this machine's resolver as it is", s.DNS.Mode)
		line("ask", "dig @%s %s.%s", s.DNS.Server, someName(s), s.DNS.Zone)
	case !s.State.Up():
		line("server", "none: the mesh is not up: %s", stateWords(s))
	case s.DNS.Mode == "off":
		line("server", "none, as --dns=off says")
	default:
		line("server", "none")
	}
	if s.DNS.Error != "" {
		line("error", "%s", s.DNS.Error)
	}
}

// someName is a member to ask for: another one, if there is any.
func someName(s localapi.Status) string {
	if len(s.Peers) > 0 {
		return s.Peers[0].Name
	}
	return s.Self.Name
}
