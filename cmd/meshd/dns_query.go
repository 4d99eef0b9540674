package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"meshd/agent/localapi"
	"meshd/dnssd"
)

const dnsPort = 53

func (a *app) dnsQueryCommand() *cobra.Command {
	var t target
	var direct bool
	cmd := &cobra.Command{
		Use:   "query NAME [TYPE]",
		Short: "Ask for a name as this machine's programs do, or the mesh's own server",
		Long: `Ask for a name as this machine's programs do, and say who answered: the hosts file
or a server of /etc/resolv.conf. With --direct it asks this machine's own server for
the mesh, past all that; a NAME without a dot is one of the mesh's zone then.
Without a TYPE it is asked for addresses.`,
		Example: `  meshd dns query nas
  meshd dns query --direct _wireguard._udp.meshd.internal PTR`,
		Args:              arguments(1, 2, "NAME"),
		ValidArgsFunction: t.completePeers,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 && !dnssd.IsType(args[1]) {
				return usageError(cmd, "%s: record type %q is unknown: A, AAAA, PTR, SRV, TXT …", cmd.CommandPath(), args[1])
			}
			if !direct {
				return a.askHost(cmd.Context(), args[0], args[1:])
			}
			s, err := a.settledDNS(cmd.Context(), t.client())
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
	cmd.Flags().BoolVar(&direct, "direct", false, "ask this machine's own server for the mesh")
	return cmd
}

// askHost looks a name up as a program on this machine would.
func (a *app) askHost(ctx context.Context, name string, types []string) error {
	l := a.lookup()
	if len(types) == 0 {
		types = []string{"A", "AAAA"}
	}
	if l.ReadsHosts() && a.printHosts(l.InHosts(name), name, types) {
		a.say("answered by /etc/hosts")
		return nil
	}
	var last error
	for _, server := range l.Asked() {
		last = nil
		for _, full := range l.Full(name) {
			found := false
			for _, typ := range types {
				lines, err := a.query(ctx, netip.AddrPortFrom(server, dnsPort), full, typ)
				if err != nil {
					last = err
					continue
				}
				found = true
				for _, line := range lines {
					fmt.Fprintln(a.stdout, line)
				}
			}
			if found {
				a.say("answered by %s", server)
				return nil
			}
			if _, answered := errors.AsType[*dnssd.Rejection](last); !answered {
				break // the server doesn't answer: the next one is asked
			}
		}
		if _, answered := errors.AsType[*dnssd.Rejection](last); answered {
			break
		}
	}
	return failure("meshd dns query --direct "+name+" asks the mesh's own server; meshd dns status tells how programs find names",
		"programs on this machine find no %s of %s", strings.Join(types, " or "), name)
}

// printHosts prints the addresses that are of the types asked for, if any are.
func (a *app) printHosts(addrs []netip.Addr, name string, types []string) (found bool) {
	for _, addr := range addrs {
		typ := "A"
		if addr.Is6() {
			typ = "AAAA"
		}
		if slices.ContainsFunc(types, func(t string) bool { return strings.EqualFold(t, typ) }) {
			fmt.Fprintf(a.stdout, "%s. 0 IN %s %s\n", strings.TrimSuffix(name, "."), typ, addr)
			found = true
		}
	}
	return found
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
