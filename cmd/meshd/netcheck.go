package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"meshd/agent"
	"meshd/agent/localapi"
)

// checking is what `meshd netcheck` was asked for.
type checking struct {
	stun     []string
	lifetime bool
	asJSON   bool
}

func (a *app) netcheckCommand() *cobra.Command {
	var t target
	var c checking
	cmd := &cobra.Command{
		Use:   "netcheck",
		Short: "Tell how this machine's network lets UDP through, and what that means",
		Long: `Tell how this machine's network lets UDP through: addresses, the behaviour of the
NAT in front, whether gateways map ports, and who can be reached directly.

The daemon asks the hub. With --stun any STUN server is asked from here instead:
that needs no daemon and no mesh. A second server with another address tells more
than one alone: only then is it known whether ports differ by address, unless a
member of the mesh that is reached without NAT told the daemon already. Sockets of
their own are used; NATs treat them as they would the mesh's. It takes some seconds,
with --lifetime up to six minutes. The exit code is 1 when UDP does not get through.`,
		Example: `  meshd netcheck
  meshd netcheck --stun stun.example.net --stun 203.0.113.1:3478
  meshd netcheck --json | jq -r .ipv4.behaviour.mapping`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := a.check(cmd.Context(), t.client(), c)
			switch {
			case err != nil:
				return err
			case c.asJSON:
				err = printJSON(a.stdout, n)
			default:
				a.printNetcheck(n)
			}
			if err == nil && !n.UDP {
				return &problem{code: exitFailed}
			}
			return err
		},
	}
	t.flags(cmd)
	cmd.Flags().StringArrayVar(&c.stun, "stun", nil, "ask this STUN server, `HOST[:PORT]`, instead of the hub; may be repeated")
	cmd.Flags().BoolVar(&c.lifetime, "lifetime", false, "measure how long the NAT keeps a mapping without traffic, too")
	cmd.Flags().BoolVar(&c.asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}

// check asks the servers named, or has the daemon ask the hub.
func (a *app) check(ctx context.Context, client *localapi.Client, c checking) (localapi.Netcheck, error) {
	if len(c.stun) > 0 {
		return a.netcheck(ctx, agent.NetcheckConfig{Servers: c.stun, Lifetime: c.lifetime, Log: a.logger()})
	}
	n, err := client.Netcheck(ctx, c.lifetime)
	if errors.Is(err, localapi.ErrNotRunning) {
		return n, failure("name a STUN server: meshd netcheck --stun HOST[:PORT]", "%v", err)
	}
	return n, err
}

func (a *app) printNetcheck(n localapi.Netcheck) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(a.stdout, "%-14s%s\n", name+":", fmt.Sprintf(format, args...))
	}
	udp := "no answer from any server"
	if n.UDP {
		udp = "yes"
	}
	line("UDP", "%s", udp)
	line("IPv4", "%s", familyWords(n.IPv4))
	line("IPv6", "%s", familyWords(n.IPv6))
	f := n.IPv4
	if !f.UDP {
		f = n.IPv6
	}
	if f.UDP {
		line("NAT", "%s", f.Behaviour.Words)
		a.printUnsure(line, f)
	}
	line("port mapping", "%s", cmp.Or(strings.Join(n.PortMapping, ", "), "none found"))
	for _, s := range n.Servers {
		if s.Answered {
			line("server", "%s, %s", s.Addr, millis(s.RTT))
		} else {
			line("server", "%s, no answer", s.Addr)
		}
	}
	for _, h := range n.Hints {
		line("hint", "%s", h)
	}
	line("this means", "%s", n.Means)
}

// printUnsure prints what was measured besides, and what was not told.
func (a *app) printUnsure(line func(name, format string, args ...any), f localapi.NetcheckFamily) {
	if f.Hairpin != nil && f.NAT {
		line("hairpin", "%s", map[bool]string{true: "yes: neighbours may meet at the public address", false: "no"}[*f.Hairpin])
	}
	switch least, ends := seconds(f.LifetimeLeast), seconds(f.LifetimeEnds); {
	case ends > 0:
		line("kept for", "%v to %v without traffic", least, ends)
	case least > 0:
		line("kept for", "more than %v without traffic", least)
	}
	var unsure []string
	tells := "a hub with two addresses"
	if m := f.Behaviour.Mapping; !f.MappingSure && (m == "" || f.NAT && m == "endpoint-independent") {
		unsure = append(unsure, "whether ports differ by address")
		tells += ", a member without NAT in the mesh, or --stun with servers at two addresses"
	}
	if f.Behaviour.Filtering == "address-dependent" && !f.FilteringSure {
		unsure = append(unsure, "whether strangers are let in")
	}
	if len(unsure) > 0 {
		line("not known", "%s", strings.Join(unsure, ", "))
		line("what tells", "%s", tells)
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func familyWords(f localapi.NetcheckFamily) string {
	switch {
	case !f.Asked:
		return "not asked: no server, or no address here"
	case !f.UDP:
		return "no answer"
	case f.NAT:
		return "yes, seen as " + f.Public.String()
	}
	return "yes, with the public address " + f.Public.Addr().String() + " of its own"
}
