package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"meshd/dnssd"
)

func (a *app) dnsKeyCommand() *cobra.Command {
	var t target
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Print the key by which this machine may write its names at the coordinator",
		Long: `Print the key by which this machine may write its names at the coordinator's DNS
port, and ask it for everything: a TSIG key as nsupdate -k and dig -k read it. Keep
it secret. It changes with this machine's name and identity.`,
		Example: `  (umask 077; meshd dns key > meshd.key)
  dig -k meshd.key @hub.example nas.meshd.internal`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := t.client().DNSKey(cmd.Context())
			switch {
			case err != nil:
				return err
			case asJSON:
				return printJSON(a.stdout, k)
			}
			key := dnssd.Key{Name: k.Name}
			copy(key.Secret[:], k.Secret)
			fmt.Fprint(a.stdout, key.File())
			return nil
		},
	}
	t.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}
