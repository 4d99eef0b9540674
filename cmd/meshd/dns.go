package main

import (
	"github.com/spf13/cobra"
)

func (a *app) dnsCommand() *cobra.Command {
	return group("dns", "See and use the mesh's names",
		a.dnsStatusCommand(),
		a.dnsQueryCommand(),
		a.dnsKeyCommand(),
	)
}
