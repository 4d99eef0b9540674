package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"meshd/agent/localapi"
)

func (a *app) announceCommand() *cobra.Command {
	var t target
	var req localapi.AnnounceRequest
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "announce TYPE --port PORT",
		Short: "Offer a service of this machine to the mesh",
		Long: `Offer a service of this machine to the mesh: members see it by "meshd browse", and
any DNS-SD browser in the mesh's zone. TYPE is a service name (http), or name and
protocol (_http._tcp). The daemon keeps it until "meshd unannounce", and shows it
while it runs. Saying it again with the same name changes it.

A name has at most 63 bytes, a type's name 15 characters, a text 255 bytes, all
texts of a service 1024 bytes; a machine announces at most 32 services.

With --from-lan it is all services of TYPE that hosts of this machine's LAN offer by
mDNS (printers, cameras), as long as they are there and at most 32. They keep their
names, ports and texts, and stand under this machine: printer.THIS.meshd.internal has
the printer's address on the LAN, to which members need a way of their own. What
two members republish by one name is the first one's.`,
		Example: `  meshd announce http --port 8080 --txt path=/photos
  meshd announce --from-lan _ipp._tcp
  meshd announce list`,
		Args: arguments(1, 1, "TYPE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if req.FromLAN && (cmd.Flags().Changed("port") || req.Name != "" || len(req.Text) > 0) {
				return usageError(cmd, "%s: --from-lan takes port, name and text from the LAN", cmd.CommandPath())
			}
			if !req.FromLAN && !cmd.Flags().Changed("port") && req.Port == 0 {
				return usageError(cmd, "%s: --port is missing", cmd.CommandPath())
			}
			req.Type = args[0]
			s, err := t.client().Announce(cmd.Context(), req)
			switch {
			case err != nil:
				return err
			case asJSON:
				return printJSON(a.stdout, s)
			case req.FromLAN:
				fmt.Fprintf(a.stdout, "%s of this LAN, as they come and go\n", s.Type)
				return nil
			}
			fmt.Fprintf(a.stdout, "%s %s at %s\n", s.Type, strconv.Quote(s.Instance), at(s))
			return nil
		},
	}
	t.flags(cmd)
	cmd.Flags().Uint16Var(&req.Port, "port", 0, "`PORT` at which it is served")
	cmd.Flags().StringVar(&req.Name, "name", "", "`NAME` for people, up to 63 bytes (default this machine's)")
	cmd.Flags().StringArrayVar(&req.Text, "txt", nil, "`KEY=VALUE` to tell besides; may be repeated")
	cmd.Flags().BoolVar(&req.UDP, "udp", false, "it is served by UDP, where TYPE does not say so")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	cmd.Flags().BoolVar(&req.FromLAN, "from-lan", false, "all of TYPE that this LAN has by mDNS")
	cmd.AddCommand(a.announceListCommand())
	return cmd
}

func (a *app) announceListCommand() *cobra.Command {
	var t target
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the services that this machine announces",
		Example: "  meshd announce list",
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := t.client().Announced(cmd.Context())
			if err != nil {
				return err
			}
			return a.printServices(list, asJSON)
		},
	}
	t.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}

func (a *app) unannounceCommand() *cobra.Command {
	var t target
	var req localapi.UnannounceRequest
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "unannounce [TYPE]",
		Short: "Withdraw services of this machine",
		Long: `Withdraw services of this machine: those of a TYPE (http, _http._tcp), the one with
--name, or --all. With --from-lan, those of a TYPE that were taken from this LAN.`,
		Example: "  meshd unannounce http",
		Args:    arguments(0, 1, "TYPE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && req.Name == "" && !all {
				return usageError(cmd, "%s: TYPE, --name or --all is missing", cmd.CommandPath())
			}
			if req.FromLAN && (len(args) == 0 || req.Name != "" || all) {
				return usageError(cmd, "%s: --from-lan takes a TYPE and nothing else", cmd.CommandPath())
			}
			req.Type = strings.Join(args, "")
			list, err := t.client().Unannounce(cmd.Context(), req)
			switch {
			case err != nil:
				return err
			case asJSON:
				return printJSON(a.stdout, list)
			case req.FromLAN:
				fmt.Fprintf(a.stdout, "%s of this LAN: no more\n", req.Type)
			}
			for _, s := range list {
				fmt.Fprintf(a.stdout, "%s %s withdrawn\n", s.Type, strconv.Quote(s.Instance))
			}
			return nil
		},
	}
	t.flags(cmd)
	cmd.Flags().StringVar(&req.Name, "name", "", "the one with this `NAME`")
	cmd.Flags().BoolVar(&req.UDP, "udp", false, "it is served by UDP, where TYPE does not say so")
	cmd.Flags().BoolVar(&req.FromLAN, "from-lan", false, "those of TYPE that were taken from this LAN")
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}

func (a *app) browseCommand() *cobra.Command {
	var t target
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "browse [TYPE]",
		Short: "List the services that members announce",
		Long: `List the services that members announce and that are there now: all of them, or
those of a TYPE (http, _http._tcp). DNS tools find the same in the mesh's zone.`,
		Example: `  meshd browse
  meshd browse _http._tcp
  dig @SERVER _http._tcp.meshd.internal PTR        SERVER: meshd dns status`,
		Args: arguments(0, 1, "TYPE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := t.client().Browse(cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			return a.printServices(list, asJSON)
		},
	}
	t.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}

// at is where a service is reached.
func at(s localapi.Service) string { return s.Host + ":" + strconv.Itoa(int(s.Port)) }

func (a *app) printServices(list []localapi.Service, asJSON bool) error {
	if asJSON {
		return printJSON(a.stdout, list)
	}
	rows := [][]string{{"TYPE", "NAME", "WHERE", "ADDRESSES", "TEXT"}}
	for _, s := range list {
		var addrs []string
		for _, a := range s.Addresses {
			addrs = append(addrs, a.String())
		}
		where := at(s)
		if s.LAN {
			where += " (LAN of " + s.Member + ")"
		}
		rows = append(rows, []string{s.Type, s.Instance, where, orDash(strings.Join(addrs, " ")), orDash(strings.Join(s.Text, " "))})
	}
	printTable(a.stdout, rows)
	return nil
}
