package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"meshd/agent/localapi"
)

func (a *app) whyCommand() *cobra.Command {
	var t target
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "why PEER",
		Short: "Tell how a peer is reached, and why not directly",
		Long: `Tell how a peer is reached and since when, how the NATs at both ends behave, what
was tried and heard, why the path is not direct, and the one thing that would make
it so. PEER is a name or an overlay address.`,
		Example: `  meshd why desk
  meshd why desk --json | jq -r .advice`,
		Args:              arguments(1, 1, "PEER"),
		ValidArgsFunction: t.completePeers,
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := t.client().Why(cmd.Context(), args[0])
			switch {
			case err != nil:
				return err
			case asJSON:
				return printJSON(a.stdout, w)
			}
			a.printWhy(w)
			return nil
		},
	}
	t.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}

func (a *app) printWhy(w localapi.Why) {
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(a.stdout, "%-13s%s\n", name+":", text)
		}
	}
	line(w.Peer, a.pathSentence(w))
	line("why", w.Verdict)
	line("what helps", w.Advice)
	carries := ""
	if w.MTU != 0 {
		carries = fmt.Sprintf("packets of %d bytes", w.MTU)
	}
	if w.Singly {
		carries = strings.TrimPrefix(carries+", ", ", ") + "one by one: bundles (UDP segmentation offload) get lost"
	}
	line("carries", carries)
	line("NAT here", cmp.Or(w.SelfNAT.Words, "not known"))
	line("NAT there", cmp.Or(w.PeerNAT.Words, "not known"))
	for _, at := range w.Attempts {
		fmt.Fprintln(a.stdout)
		a.printAttempt(at)
	}
}

// pathSentence says what is used, and since when.
func (a *app) pathSentence(w localapi.Why) string {
	switch w.Path {
	case "direct":
		return fmt.Sprintf("direct by %s for %s, %s", w.Endpoint, a.since(w.Since), millis(w.RTT))
	case "relay":
		if w.Relay != "" {
			return fmt.Sprintf("by %s as relay for %s, %s", w.Relay, a.since(w.Since), millis(w.RTT))
		}
		return fmt.Sprintf("by the hub's relay for %s", a.since(w.Since))
	case "tls":
		return fmt.Sprintf("by the hub's relay over TLS for %s", a.since(w.Since))
	}
	return "not reached"
}

// printAttempt prints an attempt with a row for each address.
func (a *app) printAttempt(at localapi.Attempt) {
	took := seconds(at.Took / 1000).Round(100 * time.Millisecond)
	fmt.Fprintf(a.stdout, "%s ago, for %v, because of %q: %s\n", a.since(at.At), took, at.Cause, at.Verdict)
	if at.Strategy != "" {
		from := "the usual socket, into the ports of the other side"
		if at.Sockets > 0 {
			from = plural(at.Sockets, "socket") + " opened for it"
		}
		fmt.Fprintf(a.stdout, "  search (%s): %s from %s\n", at.Strategy, plural(at.Spent, "probe"), from)
	}
	if len(at.Tried) == 0 {
		return
	}
	rows := [][]string{{"  ADDRESS", "KIND", "PROBES", "HEARD", "RTT"}}
	for _, t := range at.Tried {
		heard := "no"
		if t.Heard {
			heard = "yes"
		}
		rows = append(rows, []string{"  " + t.Addr.String(), t.Kind, fmt.Sprint(t.Probes), heard, millis(t.RTT)})
	}
	printTable(a.stdout, rows)
}
