package main

import (
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"
)

func (a *app) ipCommand() *cobra.Command {
	var t target
	var v4, v6, asJSON bool
	cmd := &cobra.Command{
		Use:   "ip [PEER]",
		Short: "Print the overlay addresses of this machine or of a peer",
		Example: `  meshd ip -4
  ssh $(meshd ip -4 nas)`,
		Args:              arguments(0, 1, "PEER"),
		ValidArgsFunction: t.completePeers,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := t.client().Status(cmd.Context())
			if err != nil {
				return err
			}
			who, addrs := "this machine", s.Self.Addresses
			if len(args) > 0 {
				p, err := findPeer(s, args[0])
				if err != nil {
					return err
				}
				who, addrs = p.Name, p.Addresses
			}
			picked := pick(addrs, v4, v6)
			if len(picked) == 0 {
				return failure("meshd status", "%s has no such address", who)
			}
			return a.printAddrs(picked, asJSON)
		},
	}
	t.flags(cmd)
	cmd.Flags().BoolVarP(&v4, "ipv4", "4", false, "only IPv4")
	cmd.Flags().BoolVarP(&v6, "ipv6", "6", false, "only IPv6")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func (a *app) printAddrs(addrs []netip.Addr, asJSON bool) error {
	if asJSON {
		return printJSON(a.stdout, addrs)
	}
	for _, addr := range addrs {
		fmt.Fprintln(a.stdout, addr)
	}
	return nil
}

// pick leaves out the family that was not asked for; both is neither.
func pick(addrs []netip.Addr, v4, v6 bool) []netip.Addr {
	var picked []netip.Addr
	for _, addr := range addrs {
		if v4 == v6 || addr.Is4() == v4 {
			picked = append(picked, addr)
		}
	}
	return picked
}
