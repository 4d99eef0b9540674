package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"meshd/agent/localapi"
)

func (a *app) statusCommand() *cobra.Command {
	var t target
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show this machine, its coordinator and its peers",
		Long: `Show this machine, its coordinator and its peers: who is reached by which path,
since when and why, and what is wrong if anything is.

PATH is direct with the peer's address, relay (by the coordinator, over UDP), relay
with the name of the member that relays, tls (by the coordinator, over TCP), or none.
The exit code is 1 unless the mesh is up.`,
		Example: `  meshd status
  meshd status --json | jq -r '.peers[] | select(.path != "direct") | .name'`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := t.client().Status(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(a.stdout, s)
			} else {
				a.printStatus(s)
			}
			if err == nil && !s.State.Up() {
				return &problem{code: exitFailed}
			}
			return err
		},
	}
	t.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}

func (a *app) printStatus(s localapi.Status) {
	if !s.State.Up() {
		fmt.Fprintf(a.stdout, "mesh %s is not up: %s\n", s.Mesh, stateWords(s))
		if s.Failure != nil && s.Failure.Hint != "" {
			fmt.Fprintf(a.stdout, "hint: %s\n", s.Failure.Hint)
		}
		return
	}
	fmt.Fprintf(a.stdout, "%s  %s  on %s (%s)\n", s.Self.Name, list(s.Self.Addresses), s.Self.Interface, s.Backend)
	fmt.Fprintf(a.stdout, "hub: %s\n", a.hubWords(s.Hub))
	if s.Self.NAT != "" {
		fmt.Fprintf(a.stdout, "NAT: %s\n", s.Self.NAT)
	}
	if in := s.Self.Inbound; in != "" && in != "all" {
		fmt.Fprintf(a.stdout, "inbound: %s\n", in)
	}
	for _, e := range s.Self.Endpoints {
		if e.Kind == "mapped" {
			fmt.Fprintf(a.stdout, "forwarded: %s\n", forwardWords(e))
		}
	}
	if r := s.Relaying; r != nil {
		fmt.Fprintf(a.stdout, "relays for members that can't reach each other: %s so far\n", size(r.Bytes))
	}
	for _, h := range s.Health {
		fmt.Fprintf(a.stdout, "health: %s\n", h)
	}
	if len(s.Peers) > 0 {
		fmt.Fprintln(a.stdout)
		a.printPeers(a.stdout, s.Peers)
	}
}

// forwardWords says who lets datagrams to an outside address in.
func forwardWords(e localapi.Endpoint) string {
	switch {
	case e.Untrusted:
		return fmt.Sprintf("%s, by the gateway (%s), but that is no public address: there is another NAT", e.Addr, e.Protocol)
	case e.Protocol == "":
		return fmt.Sprintf("%s, as --advertise-endpoint says", e.Addr)
	}
	return fmt.Sprintf("%s, by the gateway (%s)", e.Addr, e.Protocol)
}

// hubWords leaves to the health lines why it is away, or not reached by UDP.
func (a *app) hubWords(h localapi.Hub) string {
	if !h.Connected {
		return h.URL + ", away for " + a.since(h.Since)
	}
	words := []string{h.URL, "connected for " + a.since(h.Since)}
	if h.RTT > 0 {
		words = append(words, millis(h.RTT))
	}
	if h.UDP {
		words = append(words, "relay by UDP")
	}
	return strings.Join(words, ", ")
}

func (a *app) printPeers(w io.Writer, peers []localapi.Peer) {
	rows := [][]string{{"NAME", "ADDRESS", "PATH", "SINCE", "RTT", "MTU", "RECEIVED", "SENT", "HANDSHAKE", "WHY"}}
	for _, p := range peers {
		handshake := a.since(p.LastHandshake)
		if handshake != "-" {
			handshake += " ago"
		}
		rows = append(rows, []string{p.Name, firstAddr(p), pathWords(p), a.since(p.Since), millis(p.RTT), mtuWord(p.MTU),
			size(p.RxBytes), size(p.TxBytes), handshake, p.Reason})
	}
	printTable(w, rows)
}

// mtuWord is what a path carries, "-" while that is not known.
func mtuWord(mtu int) string {
	if mtu == 0 {
		return "-"
	}
	return fmt.Sprint(mtu)
}

func firstAddr(p localapi.Peer) string {
	if len(p.Addresses) == 0 {
		return "-"
	}
	return p.Addresses[0].String()
}

func pathWords(p localapi.Peer) string {
	switch {
	case p.Path == "direct":
		return "direct " + p.Endpoint
	case (p.Path == "none" || p.Path == "") && !p.Online:
		return "none (offline)"
	case p.Path == "":
		return "none"
	case p.Relay != "":
		return p.Path + " " + p.Relay
	}
	return p.Path
}
