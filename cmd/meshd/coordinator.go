package main

import (
	"time"

	"github.com/spf13/cobra"

	"meshd/coordinator"
	"meshd/coordinator/api"
	"meshd/coordinator/api/meshd/v1/meshdv1connect"
)

const defaultStateDir = "/var/lib/meshd-coordinator"

// hub says which coordinator a command is for.
type hub struct{ state string }

func (a *app) coordinatorCommand() *cobra.Command {
	h := &hub{}
	cmd := group("coordinator", "Run the coordinator of a mesh, and decide who is in it",
		a.serveCommand(h),
		group("key", "Invite machines: create, list and expire join strings", a.keyCreateCommand(h), a.keyListCommand(h), a.keyExpireCommand(h)),
		group("member", "Decide about members: list, approve, rename, expire, delete",
			a.memberListCommand(h), a.memberApproveCommand(h), a.memberRenameCommand(h), a.memberExpireCommand(h), a.memberDeleteCommand(h)),
		group("client", "Take in devices with WireGuard alone: add, config, list, delete",
			a.clientAddCommand(h), a.clientConfigCommand(h), a.clientListCommand(h), a.clientDeleteCommand(h)),
		a.coordinatorStatusCommand(h),
	)
	cmd.Long = `Run the coordinator of a mesh, and decide who is in it.

All commands but "serve" speak to the running coordinator, over the socket in its
state folder: run them on the same machine, as the same user or as root.`
	cmd.Example = `  meshd coordinator serve --public hub.example
  meshd coordinator key create --approved
  meshd coordinator member list`
	cmd.PersistentFlags().StringVar(&h.state, "state", defaultStateDir, "state `DIR` of the coordinator")
	return cmd
}

func (h *hub) admin() meshdv1connect.AdminServiceClient {
	return api.DialAdmin(coordinator.SocketPath(h.state))
}

// date prints a time of the protocol; "-" for none.
func date(unix int64) string {
	if unix == 0 {
		return "-"
	}
	return time.Unix(unix, 0).Local().Format("2006-01-02 15:04")
}

// timestamp is a time of the protocol for JSON; zero is left out.
func timestamp(unix int64) time.Time {
	if unix == 0 {
		return time.Time{}
	}
	return time.Unix(unix, 0).UTC()
}
