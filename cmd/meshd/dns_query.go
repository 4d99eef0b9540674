package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"meshd/agent/localapi"
	"meshd/dnssd"
)

const dnsPort = 53

func (a *app) dnsQueryCommand() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:   "query NAME [TYPE]",
		Short: "Ask this machine's server for a name of the mesh",
		Long: `Ask this machine's server for a name of the mesh. A NAME without a dot is one of
the mesh's zone. Without a TYPE it is asked for addresses.`,
		Example: `  meshd dns query nas
  meshd dns query _wireguard._udp.meshd.internal PTR`,
		Args:              arguments(1, 2, "NAME"),
		ValidArgsFunction: t.completePeers,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := t.client().Status(cmd.Context())
			if err != nil {
				return err
			}
			types := []string{"A", "AAAA"}
			if len(args) > 1 {
				types = args[1:]
			}
			return a.ask(cmd.Context(), s, fullName(args[0], s.DNS.Zone), types)
		},
	}
	t.flags(cmd)
	return cmd
}

// fullName gives a short name its zone.
func fullName(name, zone string) string {
	if strings.Contains(name, ".") || zone == "" {
		return name
	}
	return name + "." + zone
}

// ask prints what this machine's server has of a name. A name with one of the
// types asked for is enough.
func (a *app) ask(ctx context.Context, s localapi.Status, name string, types []string) error {
	addr, err := netip.ParseAddr(s.DNS.Server)
	if err != nil {
		return failure("meshd dns status", "nobody answers for the mesh's names on this machine")
	}
	var refusal *dnssd.Rejection
	found := false
	for _, typ := range types {
		lines, err := a.query(ctx, netip.AddrPortFrom(addr, dnsPort), name, typ)
		if errors.As(err, &refusal) {
			continue
		}
		if err != nil {
			return err
		}
		found = true
		for _, line := range lines {
			fmt.Fprintln(a.stdout, line)
		}
	}
	if !found {
		return unanswered(name, types, refusal)
	}
	return nil
}

func unanswered(name string, types []string, r *dnssd.Rejection) error {
	switch r.Rcode {
	case "NXDOMAIN":
		return failure("meshd peers", "there is no name %s", name)
	case "NODATA":
		return failure("", "%s has no %s record", name, strings.Join(types, " or "))
	case "REFUSED":
		return failure("ask this machine's resolver", "%s is not in the mesh's zone", name)
	}
	return failure("", "asked for %s: %s", name, r.Rcode)
}
