package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"meshd/agent"
	"meshd/agent/localapi"
)

// target says which daemon a command is for.
type target struct{ mesh, socket string }

func (t *target) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.mesh, "mesh", agent.DefaultMesh, "local `NAME` of the mesh, where this machine is in several")
	cmd.Flags().StringVar(&t.socket, "socket", "", "`PATH` of the daemon's socket (default /run/meshd/NAME.sock)")
}

func (t *target) path() string { return cmp.Or(t.socket, agent.Socket(t.mesh)) }

func (t *target) client() *localapi.Client { return localapi.NewClient(t.path()) }

// completePeers offers the names of the members to the shell.
func (t *target) completePeers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	s, err := t.client().Status(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, p := range s.Peers {
		names = append(names, p.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// findPeer returns the member that a name or an overlay address means.
func findPeer(s localapi.Status, who string) (*localapi.Peer, error) {
	addr, _ := netip.ParseAddr(who)
	for i, p := range s.Peers {
		if strings.EqualFold(p.Name, who) {
			return &s.Peers[i], nil
		}
		for _, a := range p.Addresses {
			if a == addr {
				return &s.Peers[i], nil
			}
		}
	}
	return nil, failure("meshd peers", "no member %q in mesh %s", who, s.Mesh)
}

// stateWords says what a state that is not running means; name is the member's.
func stateWords(s localapi.Status) string {
	switch s.State {
	case localapi.Stopped:
		return "not joined: meshd up JOIN"
	case localapi.Joining:
		return "joining" + because(s.Hub.Error)
	case localapi.Pending:
		return "waiting for approval: on the coordinator run: meshd coordinator member approve " + cmp.Or(s.Self.Name, "NAME")
	case localapi.Starting:
		return "bringing the interface up"
	case localapi.Failed:
		if s.Failure != nil {
			return "failed" + because(s.Failure.Message)
		}
	}
	return string(s.State)
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return fmt.Sprintf(": %s", reason)
}
