package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"meshd/agent/localapi"
)

func (a *app) setCommand() *cobra.Command {
	var t target
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "set KEY=VALUE...",
		Short: "Change settings of the daemon that runs",
		Long: `Change settings of the daemon that runs: all that are named, or on error none. They
last, as if "meshd up" had been given them as flags. "meshd get" lists them.

For port-mapping, advertise-endpoint and fwmark the mesh is made anew, which takes a
moment; the others are heeded at once.`,
		Example: `  meshd set metered=on
  meshd set search-rate=50 use-relays=off
  meshd set inbound=tcp/22,icmp
  meshd set advertise-endpoint=203.0.113.9:41641`,
		Args: arguments(1, -1, "KEY=VALUE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			values := make(map[string]string)
			for _, arg := range args {
				key, value, ok := strings.Cut(arg, "=")
				if _, twice := values[key]; !ok || key == "" || twice {
					return usageError(cmd, "%s: %q is not KEY=VALUE, each key once", cmd.CommandPath(), arg)
				}
				values[key] = value
			}
			list, err := t.client().Set(cmd.Context(), values)
			if err != nil {
				return err
			}
			list = slices.DeleteFunc(list, func(s localapi.Setting) bool { _, named := values[s.Key]; return !named })
			return a.printSettings(list, asJSON)
		},
	}
	t.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}

func (a *app) getCommand() *cobra.Command {
	var t target
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "get [KEY]",
		Short: "Show the settings of the daemon that runs",
		Long: `Show the settings of the daemon that runs, or the value of one. "meshd set" changes
them.`,
		Example: `  meshd get
  meshd get metered`,
		Args: arguments(0, 1, ""),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := t.client().Settings(cmd.Context())
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return a.printSettings(list, asJSON)
			}
			i := slices.IndexFunc(list, func(s localapi.Setting) bool { return s.Key == args[0] })
			switch {
			case i < 0:
				return failure("there are "+settingKeys(list), "there is no setting %q", args[0])
			case asJSON:
				return printJSON(a.stdout, list[i])
			}
			fmt.Fprintln(a.stdout, list[i].Value)
			return nil
		},
	}
	t.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}

func settingKeys(list []localapi.Setting) string {
	var keys []string
	for _, s := range list {
		keys = append(keys, s.Key)
	}
	return strings.Join(keys, ", ")
}

func (a *app) printSettings(list []localapi.Setting, asJSON bool) error {
	if asJSON {
		return printJSON(a.stdout, list)
	}
	rows := [][]string{{"KEY", "VALUE", "DEFAULT", "WHAT"}}
	for _, s := range list {
		rows = append(rows, []string{s.Key, s.Value, s.Default, s.Help})
	}
	printTable(a.stdout, rows)
	return nil
}
