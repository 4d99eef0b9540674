package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/coordinator/api/meshd/v1/meshdv1connect"
)

// memberJSON is a member as --json prints it.
type memberJSON struct {
	ID        uint32    `json:"id"`
	Name      string    `json:"name"`
	Addresses []string  `json:"addresses"`
	State     string    `json:"state"` // online, offline, pending, expired
	Tags      []string  `json:"tags"`
	Ephemeral bool      `json:"ephemeral"`
	Created   time.Time `json:"created"`
	LastSeen  time.Time `json:"last_seen,omitzero"`
	Version   string    `json:"version"`
	Relay     string    `json:"relay"`    // udp, tls or ""
	Observed  string    `json:"observed"` // "ip:port" or ""
}

func toMemberJSON(i *meshdv1.MemberInfo) memberJSON {
	m := i.GetMember()
	return memberJSON{
		ID: m.GetId(), Name: m.GetName(), Addresses: append([]string{}, m.GetAddresses()...), State: memberState(i),
		Tags: append([]string{}, m.GetTags()...), Ephemeral: i.GetEphemeral(), Created: timestamp(i.GetCreatedUnix()),
		LastSeen: timestamp(m.GetLastSeenUnix()), Version: i.GetVersion(), Relay: i.GetRelay(), Observed: i.GetObserved(),
	}
}

func memberState(i *meshdv1.MemberInfo) string {
	switch {
	case i.GetExpired():
		return "expired"
	case i.GetPending():
		return "pending"
	case i.GetMember().GetOnline():
		return "online"
	}
	return "offline"
}

func (a *app) memberListCommand(h *hub) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the members, and those who wait for approval",
		Example: "  meshd coordinator member list",
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			resp, err := h.admin().ListMembers(cmd.Context(), &meshdv1.ListMembersRequest{})
			if err != nil {
				return err
			}
			if asJSON {
				members := []memberJSON{}
				for _, m := range resp.GetMembers() {
					members = append(members, toMemberJSON(m))
				}
				return printJSON(a.stdout, members)
			}
			rows := [][]string{{"ID", "NAME", "ADDRESSES", "STATE", "SEEN", "SEEN AT", "RELAY", "TAGS", "VERSION"}}
			for _, m := range resp.GetMembers() {
				rows = append(rows, a.memberRow(m))
			}
			printTable(a.stdout, rows)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}

func (a *app) memberRow(i *meshdv1.MemberInfo) []string {
	m, seen := i.GetMember(), "never"
	switch {
	case m.GetOnline():
		seen = "now"
	case m.GetLastSeenUnix() != 0:
		seen = a.since(time.Unix(m.GetLastSeenUnix(), 0)) + " ago"
	}
	return []string{strconv.Itoa(int(m.GetId())), m.GetName(), list(m.GetAddresses()), memberState(i), seen,
		orDash(i.GetObserved()), orDash(i.GetRelay()), list(m.GetTags()), orDash(i.GetVersion())}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

const memberIs = "MEMBER is a name, an overlay address or an id."

func (a *app) memberApproveCommand(h *hub) *cobra.Command {
	return a.decide(h, "approve", "approved", "Admit a member that is pending or expired",
		func(ctx context.Context, c meshdv1connect.AdminServiceClient, who string) (*meshdv1.MemberInfo, error) {
			resp, err := c.ApproveMember(ctx, &meshdv1.ApproveMemberRequest{Member: who})
			return resp.GetMember(), err
		})
}

func (a *app) memberExpireCommand(h *hub) *cobra.Command {
	return a.decide(h, "expire", "expired", "Shut a member out until it is approved again",
		func(ctx context.Context, c meshdv1connect.AdminServiceClient, who string) (*meshdv1.MemberInfo, error) {
			resp, err := c.ExpireMember(ctx, &meshdv1.ExpireMemberRequest{Member: who})
			return resp.GetMember(), err
		})
}

func (a *app) memberDeleteCommand(h *hub) *cobra.Command {
	return a.decide(h, "delete", "deleted", "End a membership; the machine needs a new join string to come back",
		func(ctx context.Context, c meshdv1connect.AdminServiceClient, who string) (*meshdv1.MemberInfo, error) {
			resp, err := c.DeleteMember(ctx, &meshdv1.DeleteMemberRequest{Member: who})
			return resp.GetMember(), err
		})
}

type decision func(ctx context.Context, c meshdv1connect.AdminServiceClient, who string) (*meshdv1.MemberInfo, error)

// decide is a command that does one thing to each member it names.
func (a *app) decide(h *hub, verb, done, short string, do decision) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               verb + " MEMBER…",
		Short:             short,
		Long:              short + ".\n\n" + memberIs,
		Example:           "  meshd coordinator member " + verb + " nas",
		Args:              arguments(1, -1, "MEMBER"),
		ValidArgsFunction: h.completeMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			members := []memberJSON{}
			var failed error
			for _, who := range args {
				m, err := do(cmd.Context(), h.admin(), who)
				if failed = err; err != nil {
					break // what was done before it is told none the less
				}
				members = append(members, toMemberJSON(m))
				if !asJSON {
					fmt.Fprintf(a.stdout, "%s (%s) %s\n", m.GetMember().GetName(), list(m.GetMember().GetAddresses()), done)
				}
			}
			if asJSON && len(members) > 0 {
				failed = cmp.Or(failed, printJSON(a.stdout, members))
			}
			return failed
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}

func (a *app) memberRenameCommand(h *hub) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "rename MEMBER NAME",
		Short:             "Give a member another name",
		Long:              "Give a member another name.\n\n" + memberIs,
		Example:           "  meshd coordinator member rename localhost nas",
		Args:              arguments(2, 2, "MEMBER or NAME"),
		ValidArgsFunction: h.completeMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			resp, err := h.admin().RenameMember(cmd.Context(), &meshdv1.RenameMemberRequest{Member: args[0], Name: args[1]})
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, toMemberJSON(resp.GetMember()))
			}
			fmt.Fprintf(a.stdout, "%s is now %s\n", args[0], resp.GetMember().GetMember().GetName())
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}

// completeMembers offers the names of the members to the shell.
func (h *hub) completeMembers(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	resp, err := h.admin().ListMembers(cmd.Context(), &meshdv1.ListMembersRequest{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, m := range resp.GetMembers() {
		names = append(names, m.GetMember().GetName())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
