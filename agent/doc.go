// Package agent is one member of one mesh: the daemon behind `meshd up`.
//
// It knows how the parts of a member fit together: who it is (the state
// folder), what the mesh is (the map from the coordinator), and what has to be
// told to whom when that changes. It never knows how a path is found (punch),
// how packets are encrypted (tunnel) or how an interface gets an address
// (netcfg), and it never asks the coordinator for leave: the last map on disk
// is enough to start, and a dead hub changes nothing for a mesh that runs.
//
//	          CLI ── localapi ──┐ up, down, set, announce     ┌─▶ tunnel   peers and allowed IPs
//	                            ▼                             ├─▶ punch    peers, candidates, relay
//	hub ── control ── event ─▶ loop ── Diff(old, new) ─ plane ┼─▶ netcfg   addresses, routes, MTU
//	 ▲                          ▲  └─▶ folder (map, state)    ├─▶ names    the zone, by dnssd; the host's resolver
//	 │                          ├─────── members on the LAN ──┼── lan      by mdns
//	 └── publish ◀─ latest ─────┼─────────── candidates ◀─────┘ punch ◀─ mapping, by portmap
//	                            └── network changed ◀── netcfg.Watch
//
// One goroutine, [Agent.Run]'s loop, owns all state. It starts and stops others:
// the control connection, the lookup of the relay's names and the LAN tell it
// things by channels, the mapping of ports tells punch, and the answering of names
// tells nobody. Status is answered from a snapshot, so that a loop that is busy
// with netlink never makes it wait.
//
// # States
//
//	Stopped ──up JOIN──▶ Joining ──▶ Pending ──▶ Starting ──▶ Running
//	                        │ refused    ▲ approval withdrawn     │
//	                        ▼            └────────────────────────┤ removed, overlap, no TUN
//	                     Failed ◀─────────────────────────────────┘
//
// With a map on disk a daemon begins at Starting.
package agent
