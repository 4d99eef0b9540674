package agent

import (
	"fmt"
	"net/netip"

	"meshd/agent/localapi"
	"meshd/agent/netcfg"
	"meshd/agent/tunnel"
	"meshd/punch"
	"meshd/punch/wire"
)

func relayOf(m *Netmap, addrs []netip.AddrPort) punch.Relay {
	return punch.Relay{ID: m.Self.ID, Key: wire.RelayKey(m.Self.RelayKey), Addrs: addrs}
}

// punchPeers presumes, as long as nobody has said who is online, that everybody
// is: machines that start without the hub find each other.
func punchPeers(m *Netmap, blind bool) []punch.Peer {
	peers := make([]punch.Peer, 0, len(m.Peers))
	for _, p := range m.Peers {
		peers = append(peers, punch.Peer{
			Plain: p.Plain,
			Key:   p.Key, Name: p.Name, Relay: p.ID, Candidates: p.Candidates, Generation: p.Generation, NAT: p.NAT,
			Online: p.Online || blind, Relays: p.Relay,
		})
	}
	return peers
}

// tunnelPeers keeps the sessions of a small mesh warm, so that a first packet
// needs no handshake; ripe are those for whom the time has come.
func tunnelPeers(m *Netmap, blind bool, ripe func(Key) bool) []tunnel.Peer {
	warm := m.Online() <= warmPeers
	peers := make([]tunnel.Peer, 0, len(m.Peers))
	for _, p := range m.Peers {
		t := tunnel.Peer{Key: p.Key, AllowedIPs: p.AllowedIPs}
		if warm && (p.Online || blind) && ripe(p.Key) {
			t.Keepalive = keepalive
		}
		peers = append(peers, t)
	}
	return peers
}

func hostConfig(m *Netmap, narrow map[Key]int) netcfg.Config {
	c := netcfg.Config{Routes: m.Mesh.Prefixes, MTU: tunnel.DefaultMTU, Narrow: narrowHosts(m, narrow)}
	for _, a := range m.Self.Addresses {
		c.Addresses = append(c.Addresses, hostPrefix(a))
	}
	return c
}

// overlap refuses a mesh whose addresses this host uses for something else.
func overlap(host netcfg.Host, prefixes []netip.Prefix, iface string) error {
	for _, p := range prefixes {
		what, found, err := host.Overlap(p, iface)
		if err != nil {
			return fmt.Errorf("compare prefix %v with this host's: %w", p, err)
		}
		if found {
			return localapi.WithHint(fmt.Errorf("the mesh's prefix %v overlaps this host's %s", p, what),
				"give the mesh another prefix: meshd coordinator serve --prefix4 P --prefix6 P")
		}
	}
	return nil
}
