package agent

import (
	"maps"
	"net/netip"

	"meshd/agent/tunnel"
	"meshd/punch"
)

// wireGuardOverhead is what a data packet adds to the packet it carries: header
// 16 bytes, tag 16.
const wireGuardOverhead = 32

// pathMTU is how long a packet to a peer may be, given the largest datagram that
// gets through (0: not known). WireGuard fills packets up to a multiple of 16.
func pathMTU(largest int) int {
	if largest == 0 || largest >= tunnel.DefaultMTU+wireGuardOverhead {
		return tunnel.DefaultMTU
	}
	return (largest - wireGuardOverhead) &^ 15
}

// narrowed takes in what the paths carry now, and reports whether that is news.
func (p *plane) narrowed(peers map[punch.Key]punch.PeerStatus) bool {
	narrow := make(map[Key]int)
	for key, s := range peers {
		if mtu := pathMTU(s.Largest); mtu < tunnel.DefaultMTU {
			narrow[key] = mtu
		}
	}
	news := !maps.Equal(narrow, p.narrow)
	p.narrow = narrow
	return news
}

// narrowHosts gives the addresses of peers whose path carries less than the
// interface's MTU what it does carry.
func narrowHosts(m *Netmap, narrow map[Key]int) map[netip.Addr]int {
	hosts := make(map[netip.Addr]int)
	for _, p := range m.Peers {
		if mtu := narrow[p.Key]; mtu != 0 {
			for _, a := range p.Addresses {
				hosts[a] = mtu
			}
		}
	}
	return hosts
}
