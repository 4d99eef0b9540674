package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"meshd/agent"
	"meshd/agent/localapi"
	"meshd/agent/netcfg"
	"meshd/coordinator"
)

// app is the world as the commands see it; tests make another one.
type app struct {
	stdout, stderr io.Writer
	getenv         func(string) string
	version        string
	now            func() time.Time
	pingEvery      time.Duration // between two pings
	pollEvery      time.Duration // between two looks at a state that changes

	startDaemon func(context.Context, daemon) error // returns when it answers
	runAgent    func(context.Context, agent.Config) error
	netcheck    func(context.Context, agent.NetcheckConfig) (localapi.Netcheck, error)
	lookup      func() netcfg.Lookup // how this machine's programs look names up
	query       func(ctx context.Context, server netip.AddrPort, name, qtype string) ([]string, error)
	coordinate  func(context.Context, coordinator.Config, func()) error // calls back when it serves
}

// run carries out one command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	p := explain(err)
	if p.sentence != "" {
		fmt.Fprintf(a.stderr, "meshd: %s\n", p.sentence)
	}
	if p.hint != "" {
		fmt.Fprintf(a.stderr, "hint: %s\n", p.hint)
	}
	return p.code
}

func (a *app) root() *cobra.Command {
	cobra.EnableCommandSorting = false // the order below is the one in which they are needed
	root := group("meshd", "A private network of one's own: every machine reaches every other, directly",
		a.upCommand(),
		a.downCommand(),
		a.statusCommand(),
		a.peersCommand(),
		a.ipCommand(),
		a.pingCommand(),
		a.whyCommand(),
		a.netcheckCommand(),
		a.getCommand(),
		a.setCommand(),
		a.dnsCommand(),
		a.announceCommand(),
		a.unannounceCommand(),
		a.browseCommand(),
		a.coordinatorCommand(),
		a.versionCommand(),
		a.completionCommand(),
	)
	root.Long = `A private network of one's own: every machine reaches every other, directly.

One machine with a public address runs "meshd coordinator serve"; there, "meshd
coordinator key create" prints a join string; every other machine runs "meshd
up JOIN". No domain, certificate or configuration file is needed.

Every flag has an environment variable: --wait 1m is MESHD_WAIT=1m. MESHD_LOG=debug
makes daemons say more. Answers go to stdout, everything else to stderr. The exit
code is 0 when it is done, 1 when it failed, 2 when the command line is wrong.`
	root.Example = `  meshd coordinator serve                     on the server
  meshd coordinator key create                prints the join string
  meshd up meshd1:hub.example/c5gn…           on each machine
  meshd status`
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return a.applyEnv(cmd.Flags()) }
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError(cmd, "%v", err) })
	root.SetUsageTemplate(usageTemplate)
	return root
}

// usageTemplate is cobra's with the example at the end.
const usageTemplate = `Usage:
  {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND{{else}}{{.UseLine}}{{end}}
{{- if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}
{{- if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
{{- if .HasAvailableInheritedFlags}}

Flags of all these commands:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
{{- if .HasExample}}

Example:
{{.Example}}{{end}}
`

// group is a command that only has others.
func group(name, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use:                   name,
		Short:                 short,
		DisableFlagsInUseLine: true,

		SuggestionsMinimumDistance: 2,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				return &problem{fmt.Sprintf("no command %q", cmd.CommandPath()+" "+args[0]),
					fmt.Sprintf("did you mean %s?", cmd.CommandPath()+" "+strings.Join(near, " or ")), exitUsage}
			}
			return usageError(cmd, "no command %q", cmd.CommandPath()+" "+args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SetOut(cmd.ErrOrStderr()) // no command, so this is no answer
			cmd.Help()
			return &problem{code: exitUsage}
		},
	}
	g.AddCommand(commands...)
	return g
}

// arguments checks how many there are; names are for the message.
func arguments(least, most int, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usageError(cmd, "%s: %s is missing", cmd.CommandPath(), names)
		case most >= 0 && len(args) > most:
			return usageError(cmd, "%s: %q is too much", cmd.CommandPath(), args[most])
		}
		return nil
	}
}

// envName returns the environment variable that stands for a flag.
func envName(flag string) string {
	return "MESHD_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// applyEnv gives flags that are not on the command line the values of their
// environment variables.
func (a *app) applyEnv(flags *pflag.FlagSet) (err error) {
	flags.VisitAll(func(f *pflag.Flag) {
		value := a.getenv(envName(f.Name))
		if f.Changed || value == "" || err != nil || f.Name == "help" {
			return
		}
		if e := flags.Set(f.Name, value); e != nil {
			err = &problem{fmt.Sprintf("%s=%s: %v", envName(f.Name), value, e), "correct or unset the variable", exitUsage}
		}
	})
	return err
}

// say talks: to stderr, a line.
func (a *app) say(format string, args ...any) { fmt.Fprintf(a.stderr, format+"\n", args...) }
