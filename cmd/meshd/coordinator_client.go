package main

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"

	"github.com/spf13/cobra"

	"meshd/coordinator"
	meshdv1 "meshd/coordinator/api/meshd/v1"
)

// clientJSON is a plain device as --json prints it.
type clientJSON struct {
	memberJSON
	PublicKey   string `json:"public_key"`
	HubKey      string `json:"hub_key"`
	HubEndpoint string `json:"hub_endpoint"`
	DNS         string `json:"dns"`
	Zone        string `json:"zone"`
	Config      string `json:"config"` // for wg-quick
	WgsdClient  string `json:"wgsd_client"`
}

func toClientJSON(c *meshdv1.ClientSettings, private string) clientJSON {
	return clientJSON{
		memberJSON: toMemberJSON(c.GetMember()), PublicKey: base64.StdEncoding.EncodeToString(c.GetMember().GetMember().GetWireguardKey()),
		HubKey: base64.StdEncoding.EncodeToString(c.GetHubKey()), HubEndpoint: c.GetHubEndpoint(), DNS: c.GetDns(), Zone: c.GetZone(),
		Config: coordinator.WireGuardConfig(c, private), WgsdClient: coordinator.WgsdClient(c, ""),
	}
}

const aboutClients = `A plain device runs WireGuard and nothing of meshd's: a phone, a router, a camera.
The configuration has every member of now as a peer, with the endpoint where it is
now. With wgsd-client, run every minute or so, the device asks the mesh's zone where
its peers are, and they are told to let it in; that needs a coordinator that was
started with --dns-listen. Without, it reaches members whose endpoints stay.`

func (a *app) clientAddCommand(h *hub) *cobra.Command {
	var public string
	var asJSON, asQR bool
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Make a device with WireGuard alone a member, and print its configuration",
		Long: `Make a device with WireGuard alone a member, and print its configuration for
wg-quick, on stdout.

` + aboutClients + `

Without --public-key a pair of keys is made here, and the private one is in what is
printed and nowhere else. --qr prints the same as a QR code, which WireGuard's app on
a phone scans: up to about a dozen members fit.`,
		Example: `  meshd coordinator client add phone --qr
  meshd coordinator client add tv > tv.conf
  meshd coordinator client add router --public-key "$(wg pubkey < router.key)"`,
		Args: arguments(1, 1, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asQR && (asJSON || public != "") {
				return usageError(cmd, "%s: --qr goes with neither --json nor --public-key", cmd.CommandPath())
			}
			key, private, err := clientKey(public)
			if err != nil {
				return usageError(cmd, "--public-key %s: %v", public, err)
			}
			resp, err := h.admin().AddClient(cmd.Context(), &meshdv1.AddClientRequest{Name: args[0], WireguardKey: key})
			if err != nil {
				return err
			}
			if asQR {
				return a.drawClient(resp.GetClient(), private)
			}
			return a.printClient(resp.GetClient(), private, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asQR, "qr", false, "print a QR code")
	cmd.Flags().StringVar(&public, "public-key", "", "its WireGuard public `KEY`, as wg pubkey prints it")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}

// clientKey reads a public key, or makes a pair.
func clientKey(public string) (key []byte, private string, err error) {
	if public == "" {
		pair, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			return nil, "", err
		}
		return pair.PublicKey().Bytes(), base64.StdEncoding.EncodeToString(pair.Bytes()), nil
	}
	key, err = base64.StdEncoding.DecodeString(public)
	if err != nil || len(key) != 32 {
		return nil, "", fmt.Errorf("want 44 characters of base64, as wg pubkey prints")
	}
	return key, "", nil
}

func (a *app) printClient(c *meshdv1.ClientSettings, private string, asJSON bool) error {
	if asJSON {
		return printJSON(a.stdout, toClientJSON(c, private))
	}
	fmt.Fprint(a.stdout, coordinator.WireGuardConfig(c, private))
	a.adviseClient(c)
	return nil
}

// drawClient prints a QR code, or the configuration if that is too long for one:
// the device is a member by now, and its key nowhere else.
func (a *app) drawClient(c *meshdv1.ClientSettings, private string) error {
	code, err := qrCode(essence(coordinator.WireGuardConfig(c, private)))
	if err != nil {
		a.say("with %d members it is too long for a QR code, so this is the configuration itself", len(c.GetPeers()))
		return a.printClient(c, private, false)
	}
	fmt.Fprint(a.stdout, code)
	a.adviseClient(c)
	return nil
}

// adviseClient says what the device needs besides.
func (a *app) adviseClient(c *meshdv1.ClientSettings) {
	switch command := coordinator.WgsdClient(c, ""); {
	case c.GetHubEndpoint() == "":
		a.say("the coordinator has no address to name, so it can't learn where %s is: start it with --public HOST", c.GetMember().GetMember().GetName())
	case command == "":
		a.say("the coordinator answers no DNS, so endpoints stay as they are here: start it with --dns-listen ADDR:PORT")
	default:
		a.say("to keep the endpoints fresh, run every minute on the device: %s", command)
	}
}

func (a *app) clientConfigCommand(h *hub) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "config NAME",
		Short:             "Print a plain device's configuration again, with the members of now",
		Long:              "Print a plain device's configuration again, with the members of now. Its private\nkey, which nobody but the device has, is left out.\n\n" + aboutClients,
		Example:           "  meshd coordinator client config phone",
		Args:              arguments(1, 1, "NAME"),
		ValidArgsFunction: h.completeMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			resp, err := h.admin().ClientConfig(cmd.Context(), &meshdv1.ClientConfigRequest{Member: args[0]})
			if err != nil {
				return err
			}
			return a.printClient(resp.GetClient(), "", asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}

func (a *app) clientListCommand(h *hub) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the plain devices",
		Example: "  meshd coordinator client list",
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			clients, err := h.clients(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				members := []memberJSON{}
				for _, m := range clients {
					members = append(members, toMemberJSON(m))
				}
				return printJSON(a.stdout, members)
			}
			rows := [][]string{{"ID", "NAME", "ADDRESSES", "STATE", "SEEN AT", "PUBLIC KEY"}}
			for _, m := range clients {
				rows = append(rows, []string{fmt.Sprint(m.GetMember().GetId()), m.GetMember().GetName(), list(m.GetMember().GetAddresses()), memberState(m),
					orDash(m.GetObserved()), base64.StdEncoding.EncodeToString(m.GetMember().GetWireguardKey())})
			}
			printTable(a.stdout, rows)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}

// clients are the members that run WireGuard alone.
func (h *hub) clients(ctx context.Context) (clients []*meshdv1.MemberInfo, err error) {
	resp, err := h.admin().ListMembers(ctx, &meshdv1.ListMembersRequest{})
	for _, m := range resp.GetMembers() {
		if m.GetMember().GetPlain() {
			clients = append(clients, m)
		}
	}
	return clients, err
}

func (a *app) clientDeleteCommand(h *hub) *cobra.Command {
	cmd := a.memberDeleteCommand(h)
	cmd.Use, cmd.Short = "delete NAME…", "End the membership of plain devices"
	cmd.Long, cmd.Example = cmd.Short+".\n\n"+memberIs, "  meshd coordinator client delete phone"
	do := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, who := range args { // before any is deleted
			if _, err := h.admin().ClientConfig(cmd.Context(), &meshdv1.ClientConfigRequest{Member: who}); err != nil {
				return err
			}
		}
		return do(cmd, args)
	}
	return cmd
}
