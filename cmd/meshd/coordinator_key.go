package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	meshdv1 "meshd/coordinator/api/meshd/v1"
)

// keyJSON is a key as --json prints it.
type keyJSON struct {
	ID        uint32    `json:"id"`
	Join      string    `json:"join,omitempty"` // of a new key only
	Reusable  bool      `json:"reusable"`
	Approved  bool      `json:"approved"`
	Ephemeral bool      `json:"ephemeral"`
	Tags      []string  `json:"tags"`
	Created   time.Time `json:"created"`
	Expires   time.Time `json:"expires,omitzero"`
	Used      uint32    `json:"used"`
	Expired   bool      `json:"expired"`
}

func toKeyJSON(k *meshdv1.Key, join string) keyJSON {
	return keyJSON{
		ID: k.GetId(), Join: join, Reusable: k.GetReusable(), Approved: k.GetApproved(), Ephemeral: k.GetEphemeral(),
		Tags: append([]string{}, k.GetTags()...), Created: timestamp(k.GetCreatedUnix()), Expires: timestamp(k.GetExpiresUnix()),
		Used: k.GetUsed(), Expired: k.GetExpired(),
	}
}

func (a *app) keyCreateCommand(h *hub) *cobra.Command {
	var req meshdv1.CreateKeyRequest
	var asJSON bool
	expires := days(24 * time.Hour)
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Print a new join string",
		Long: `Print a new join string, alone, on stdout. It admits one machine within a day
unless flags say otherwise, and cannot be shown again.`,
		Example: `  meshd coordinator key create
  meshd coordinator key create --reusable --approved --expires 30d --tag server`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if expires < days(time.Second) {
				return usageError(cmd, "--expires %s: want a second or more", expires.String())
			}
			req.ExpiresSeconds = int64(time.Duration(expires) / time.Second)
			resp, err := h.admin().CreateKey(cmd.Context(), &req)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, toKeyJSON(resp.GetKey(), resp.GetJoin()))
			}
			a.say("%s; on the new machine: meshd up JOIN", keyWords(resp.GetKey()))
			fmt.Fprintln(a.stdout, resp.GetJoin())
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&req.Reusable, "reusable", false, "admit any number of machines")
	f.BoolVar(&req.Approved, "approved", false, "admit without approval")
	f.BoolVar(&req.Ephemeral, "ephemeral", false, "delete its members when they go offline")
	f.Var(&expires, "expires", "`TIME` from now, such as 90m, 24h or 30d")
	f.StringSliceVar(&req.Tags, "tag", nil, "`TAG` of its members; may be repeated")
	f.BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}

// keyWords says what a key is good for.
func keyWords(k *meshdv1.Key) string {
	words := "admits one machine"
	if k.GetReusable() {
		words = "admits any number of machines"
	}
	words += " until " + date(k.GetExpiresUnix())
	if !k.GetApproved() {
		words += ", after approval"
	}
	return words
}

func (a *app) keyListCommand(h *hub) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the keys behind the join strings",
		Example: "  meshd coordinator key list",
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			resp, err := h.admin().ListKeys(cmd.Context(), &meshdv1.ListKeysRequest{})
			if err != nil {
				return err
			}
			if asJSON {
				keys := []keyJSON{}
				for _, k := range resp.GetKeys() {
					keys = append(keys, toKeyJSON(k, ""))
				}
				return printJSON(a.stdout, keys)
			}
			rows := [][]string{{"ID", "KIND", "TAGS", "USED", "CREATED", "EXPIRES"}}
			for _, k := range resp.GetKeys() {
				rows = append(rows, keyRow(k))
			}
			printTable(a.stdout, rows)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}

func keyRow(k *meshdv1.Key) []string {
	kind := []string{"single-use"}
	if k.GetReusable() {
		kind[0] = "reusable"
	}
	if k.GetApproved() {
		kind = append(kind, "approved")
	}
	if k.GetEphemeral() {
		kind = append(kind, "ephemeral")
	}
	expires := date(k.GetExpiresUnix())
	if k.GetExpired() {
		expires = "expired"
	}
	id, used := strconv.Itoa(int(k.GetId())), strconv.Itoa(int(k.GetUsed()))
	return []string{id, strings.Join(kind, ", "), list(k.GetTags()), used, date(k.GetCreatedUnix()), expires}
}

func (a *app) keyExpireCommand(h *hub) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "expire ID",
		Short:   "Make a join string useless; members that it admitted stay",
		Example: "  meshd coordinator key expire 3",
		Args:    arguments(1, 1, "ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 32)
			if err != nil {
				return &problem{fmt.Sprintf("key id %q is no number", args[0]), "meshd coordinator key list", exitUsage}
			}
			resp, err := h.admin().ExpireKey(cmd.Context(), &meshdv1.ExpireKeyRequest{Id: uint32(id)})
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, toKeyJSON(resp.GetKey(), ""))
			}
			fmt.Fprintf(a.stdout, "key %d expired\n", id)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}
