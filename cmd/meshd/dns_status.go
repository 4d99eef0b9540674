package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"meshd/agent/localapi"
)

func (a *app) dnsStatusCommand() *cobra.Command {
	var t target
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell how this machine's programs find the mesh's names, and why so",
		Long: `Tell how this machine's programs find the mesh's names, and why so.

The mode is the first of these that the machine has: resolved (systemd-resolved),
networkmanager (with dns=dnsmasq), resolvconf, hosts (a block in /etc/hosts). Lines
"changed" say what is different on the machine as long as the mesh is up, lines
"not" why a mode was passed over. "meshd up --dns=off" leaves all of it alone.`,
		Example: `  meshd dns status
  meshd dns status --json | jq -r .server`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.settledDNS(cmd.Context(), t.client())
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

// resolverTime is how long a mesh that has just come up may take to tell this
// machine's programs of its names.
const resolverTime = 15 * time.Second

// settledDNS is the status once programs have been told.
func (a *app) settledDNS(ctx context.Context, c *localapi.Client) (localapi.Status, error) {
	enough, cancel := context.WithTimeout(ctx, resolverTime)
	defer cancel()
	for {
		s, err := c.Status(ctx)
		if err != nil || s.DNS.Mode != localapi.DNSPending || !pause(enough, a.pollEvery) {
			return s, err
		}
	}
}

func (a *app) printDNS(s localapi.Status) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(a.stdout, "%-9s%s\n", name+":", fmt.Sprintf(format, args...))
	}
	if s.DNS.Zone != "" {
		line("zone", "%s", s.DNS.Zone)
	}
	switch {
	case s.DNS.Server != "":
		line("server", "%s, on this machine", s.DNS.Server)
		line("mode", "%s: %s", s.DNS.Mode, modeWords[s.DNS.Mode])
		line("ask", "dig @%s %s.%s", s.DNS.Server, someName(s), s.DNS.Zone)
	case s.DNS.Mode == localapi.DNSPending:
		line("server", "not known yet: this machine's programs are being told")
	case !s.State.Up():
		line("server", "none: the mesh is not up: %s", stateWords(s))
	case s.DNS.Mode == "off":
		line("server", "none, as --dns=off says")
	default:
		line("server", "none")
		line("mode", "%s: %s", s.DNS.Mode, modeWords[s.DNS.Mode])
	}
	for _, c := range s.DNS.Changed {
		line("changed", "%s", c)
	}
	for _, r := range s.DNS.Reasons {
		line("not", "%s", r)
	}
	if s.DNS.Error != "" {
		line("error", "%s", s.DNS.Error)
	}
}

// modeWords say what the modes mean.
var modeWords = map[string]string{
	"resolved":       "programs ask systemd-resolved, which asks this server for the zone",
	"networkmanager": "programs ask NetworkManager's dnsmasq, which asks this server for the zone",
	"resolvconf":     "programs ask this server first, which hands on what is not the zone's",
	"hosts":          "programs find the members in the hosts file",
	"ask":            "the server answers whoever asks it; this machine's resolver is as it was",
}

// someName is a member to ask for: another one, if there is any.
func someName(s localapi.Status) string {
	if len(s.Peers) > 0 {
		return s.Peers[0].Name
	}
	return s.Self.Name
}
