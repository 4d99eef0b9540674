package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	meshdv1 "meshd/coordinator/api/meshd/v1"
)

// hubJSON is the coordinator as --json prints it.
type hubJSON struct {
	Version string    `json:"version"`
	Mesh    string    `json:"mesh"`
	Pin     string    `json:"pin"`
	Hosts   []string  `json:"hosts"`
	Listen  string    `json:"listen"`
	UDP     []string  `json:"udp"`
	Prefix4 string    `json:"prefix4"`
	Prefix6 string    `json:"prefix6"`
	Started time.Time `json:"started"`
	Members uint32    `json:"members"`
	Online  uint32    `json:"online"`
	Pending uint32    `json:"pending"`
	Relay   relayJSON `json:"relay"`
	Health  []string  `json:"health"`
}

type relayJSON struct {
	Sessions uint32 `json:"sessions"`
	Packets  uint64 `json:"packets"`
	Bytes    uint64 `json:"bytes"`

	Offload        string `json:"offload"`
	OffloadFlows   uint32 `json:"offload_flows"`
	OffloadPackets uint64 `json:"offload_packets"`
	OffloadBytes   uint64 `json:"offload_bytes"`
}

func (a *app) coordinatorStatusCommand(h *hub) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show how the coordinator stands",
		Example: "  meshd coordinator status",
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := h.admin().Status(cmd.Context(), &meshdv1.StatusRequest{})
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, toHubJSON(s))
			}
			a.printHub(s)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; fields are added, never changed")
	return cmd
}

func toHubJSON(s *meshdv1.StatusResponse) hubJSON {
	return hubJSON{
		Version: s.GetVersion(), Mesh: s.GetMesh(), Pin: s.GetPin(), Hosts: append([]string{}, s.GetHosts()...),
		Listen: s.GetListen(), UDP: append([]string{}, s.GetUdp()...), Prefix4: s.GetPrefix4(), Prefix6: s.GetPrefix6(),
		Started: timestamp(s.GetStartedUnix()), Members: s.GetMembers(), Online: s.GetOnline(), Pending: s.GetPending(),
		Relay: relayJSON{
			Sessions: s.GetRelaySessions(), Packets: s.GetRelayPackets(), Bytes: s.GetRelayBytes(),
			Offload: s.GetRelayOffload(), OffloadFlows: s.GetOffloadFlows(), OffloadPackets: s.GetOffloadPackets(), OffloadBytes: s.GetOffloadBytes(),
		},
		Health: append([]string{}, s.GetHealth()...),
	}
}

// inKernel says what of the relay's work the kernel does.
func inKernel(s *meshdv1.StatusResponse) string {
	if s.GetRelayOffload() != "on" {
		return s.GetRelayOffload()
	}
	return fmt.Sprintf("%s, %d packets, %s of it", plural(int(s.GetOffloadFlows()), "flow"), s.GetOffloadPackets(), size(s.GetOffloadBytes()))
}

func (a *app) printHub(s *meshdv1.StatusResponse) {
	rows := [][]string{
		{"mesh", s.GetMesh() + "  " + s.GetPrefix4() + "  " + s.GetPrefix6()},
		{"members", fmt.Sprintf("%d, %d online, %d pending", s.GetMembers(), s.GetOnline(), s.GetPending())},
		{"relay", fmt.Sprintf("%s, %d packets, %s", plural(int(s.GetRelaySessions()), "session"), s.GetRelayPackets(), size(s.GetRelayBytes()))},
		{"kernel", inKernel(s)},
		{"public", list(s.GetHosts())},
		{"listen", "TCP " + s.GetListen() + "  UDP " + list(s.GetUdp())},
		{"identity", s.GetPin()},
		{"version", fmt.Sprintf("%s, up for %s", s.GetVersion(), a.since(time.Unix(s.GetStartedUnix(), 0)))},
	}
	for _, sentence := range s.GetHealth() {
		rows = append(rows, []string{"health", sentence})
	}
	printTable(a.stdout, rows)
}
