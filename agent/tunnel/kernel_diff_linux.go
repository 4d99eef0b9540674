package tunnel

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// peerChanges returns what makes the peers that are wanted out of those that
// there are; nothing for a peer that is as it should be. Its endpoint is set when
// it is made, and left alone otherwise. A prefix that moves from one peer to
// another is never without one: the kernel moves it.
func peerChanges(have []wgtypes.Peer, want map[Key]Peer, endpoint func(Key) netip.AddrPort) []wgtypes.PeerConfig {
	var gained, lost, gone []wgtypes.PeerConfig
	known := make(map[Key]bool, len(have))
	for _, old := range have {
		key := Key(old.PublicKey)
		known[key] = true
		p, wanted := want[key]
		if !wanted {
			gone = append(gone, wgtypes.PeerConfig{PublicKey: old.PublicKey, Remove: true})
			continue
		}
		change, replaces, changed := peerChange(old, p)
		switch {
		case replaces:
			lost = append(lost, change)
		case changed:
			gained = append(gained, change)
		}
	}
	for key, p := range want {
		if !known[key] {
			gained = append(gained, wgtypes.PeerConfig{
				PublicKey: wgtypes.Key(key), Endpoint: udpAddr(endpoint(key)), PersistentKeepaliveInterval: keepaliveOf(p.Keepalive),
				PresharedKey: presharedOf(p), AllowedIPs: toIPNets(p.AllowedIPs), ReplaceAllowedIPs: true,
			})
		}
	}
	return slices.Concat(gained, lost, gone)
}

// peerChange is what a peer that stays needs. Prefixes can only be taken from it
// by giving it all others anew, for a moment without any; so that is done for no
// other reason.
func peerChange(old wgtypes.Peer, p Peer) (change wgtypes.PeerConfig, replaces, changed bool) {
	change = wgtypes.PeerConfig{PublicKey: old.PublicKey, UpdateOnly: true}
	if old.PersistentKeepaliveInterval != p.Keepalive {
		change.PersistentKeepaliveInterval, changed = keepaliveOf(p.Keepalive), true
	}
	if old.PresharedKey != wgtypes.Key(p.PresharedKey) {
		change.PresharedKey, changed = presharedOf(p), true
	}
	has := toPrefixes(old.AllowedIPs)
	if len(without(has, p.AllowedIPs)) > 0 {
		change.AllowedIPs, change.ReplaceAllowedIPs = toIPNets(p.AllowedIPs), true
		return change, true, true
	}
	if more := without(p.AllowedIPs, has); len(more) > 0 {
		change.AllowedIPs, changed = toIPNets(more), true
	}
	return change, false, changed
}

func presharedOf(p Peer) *wgtypes.Key {
	key := wgtypes.Key(p.PresharedKey)
	return &key
}

func toIPNets(prefixes []netip.Prefix) []net.IPNet {
	nets := make([]net.IPNet, len(prefixes))
	for i, p := range prefixes {
		nets[i] = net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
	}
	return nets
}

func toPrefixes(nets []net.IPNet) []netip.Prefix {
	prefixes := make([]netip.Prefix, 0, len(nets))
	for _, n := range nets {
		addr, ok := netip.AddrFromSlice(n.IP)
		bits, size := n.Mask.Size()
		if ok && size == 32 {
			addr = addr.Unmap()
		}
		prefixes = append(prefixes, netip.PrefixFrom(addr, bits))
	}
	return prefixes
}

// turn points a peer elsewhere. With wake, its session is used at once, so that
// the other end hears of the new address: a changed endpoint alone sends nothing.
// WireGuard sends a keepalive when that is switched on.
func turn(key Key, to netip.AddrPort, keepalive time.Duration, wake bool) []wgtypes.Config {
	change := wgtypes.PeerConfig{PublicKey: wgtypes.Key(key), UpdateOnly: true, Endpoint: udpAddr(to)}
	if !wake || keepalive == 0 {
		return []wgtypes.Config{{Peers: []wgtypes.PeerConfig{change}}}
	}
	change.PersistentKeepaliveInterval = keepaliveOf(0)
	again := wgtypes.PeerConfig{PublicKey: wgtypes.Key(key), UpdateOnly: true, PersistentKeepaliveInterval: keepaliveOf(keepalive)}
	return []wgtypes.Config{{Peers: []wgtypes.PeerConfig{change}}, {Peers: []wgtypes.PeerConfig{again}}}
}
