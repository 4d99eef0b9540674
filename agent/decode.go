package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"time"

	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/dnssd"
	"meshd/punch/wire"
)

func selfOf(v *meshdv1.Self) (s Self, err error) {
	s = Self{ID: wire.RelayID(v.GetId()), Name: v.GetName(), Expires: unixTime(v.GetExpiresUnix()), Tags: v.GetTags()}
	if s.ID == 0 {
		return s, errors.New("id is missing")
	}
	if s.Addresses, err = addrsOf(v.GetAddresses()); err != nil {
		return s, err
	}
	s.RelayKey, err = keyOf("relay key", v.GetRelayKey())
	return s, err
}

func meshOf(v *meshdv1.Mesh) (Mesh, error) {
	m := Mesh{Name: v.GetName(), Zone: v.GetZone()}
	for _, text := range []string{v.GetPrefix4(), v.GetPrefix6()} {
		if text == "" {
			continue
		}
		p, err := overlayPrefix(text)
		if err != nil {
			return m, err
		}
		m.Prefixes = append(m.Prefixes, p)
	}
	if secret := v.GetLanSecret(); len(secret) > 0 {
		var err error
		if m.LANSecret, err = keyOf("LAN secret", secret); err != nil {
			return m, err
		}
	}
	for _, r := range v.GetRelays() {
		if w := r.GetWebsocket(); w != "" && !path.IsAbs(w) {
			return m, fmt.Errorf("relay path %q does not begin with a slash", w)
		}
		m.Relays = append(m.Relays, Relay{UDP: r.GetUdp(), WebSocket: r.GetWebsocket()})
	}
	return m, nil
}

// overlayPrefix reads a prefix that this host will route into the mesh, and
// refuses one so short that the host would lose the rest of the network.
func overlayPrefix(text string) (netip.Prefix, error) {
	p, err := prefixOf(text)
	if err != nil {
		return p, err
	}
	if least := p.Addr().BitLen() / 4; p.Bits() < least {
		return p, fmt.Errorf("prefix %v is too large for a mesh: want /%d or longer", p, least)
	}
	return p, nil
}

func peerOf(v *meshdv1.Member) (p Peer, err error) {
	p = Peer{
		ID: wire.RelayID(v.GetId()), Name: v.GetName(), Online: v.GetOnline(), LastSeen: unixTime(v.GetLastSeenUnix()),
		Candidates: candidatesOf(v.GetEndpoints()), Generation: v.GetGeneration(), NAT: natOf(v.GetNat()), Relay: v.GetRelay(),
		Plain: v.GetPlain(), Text: v.GetText(),
	}
	if p.ID == 0 || p.Name == "" {
		return p, fmt.Errorf("id %d: id and name are needed", p.ID)
	}
	if p.Key, err = keyOf("key", v.GetWireguardKey()); err != nil {
		return p, err
	}
	if p.Addresses, err = addrsOf(v.GetAddresses()); err != nil {
		return p, err
	}
	for _, text := range v.GetAllowedIps() {
		ip, err := prefixOf(text)
		if err != nil {
			return p, err
		}
		p.AllowedIPs = append(p.AllowedIPs, ip)
	}
	if p.Services, err = servicesOf(v.GetServices()); err != nil {
		return p, err
	}
	slices.SortFunc(p.AllowedIPs, netip.Prefix.Compare)
	p.AllowedIPs = slices.Compact(p.AllowedIPs)
	return p, nil
}

func servicesOf(vs []*meshdv1.Service) (list []dnssd.Service, err error) {
	for _, v := range vs {
		s := dnssd.Service{Instance: v.GetInstance(), Type: v.GetType(), Port: uint16(v.GetPort()), Text: v.GetText(), Host: v.GetHost()}
		if s.Addresses, err = addrsOf(v.GetAddresses()); err != nil {
			return nil, fmt.Errorf("service %q: %w", s.Instance, err)
		}
		list = append(list, s)
	}
	return list, nil
}

func addrsOf(texts []string) ([]netip.Addr, error) {
	var addrs []netip.Addr
	for _, text := range texts {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" || a.Is4In6() {
			return nil, fmt.Errorf("address %q is no IP address", text)
		}
		addrs = append(addrs, a)
	}
	return addrs, nil
}

func prefixOf(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil || p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("prefix %q is no IP prefix", text)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("prefix %q has bits beyond its length: want %v", text, p.Masked())
	}
	return p, nil
}

func keyOf(what string, b []byte) (Key, error) {
	if len(b) != len(Key{}) {
		return Key{}, fmt.Errorf("%s has %d bytes: want %d", what, len(b), len(Key{}))
	}
	if k := Key(b); k != (Key{}) {
		return k, nil
	}
	return Key{}, fmt.Errorf("%s is all zero", what)
}

// candidatesOf leaves out what it does not understand: a later version may know
// more kinds, and one address less is no reason to lose a peer.
func candidatesOf(vs []*meshdv1.Endpoint) []wire.Candidate {
	var cs []wire.Candidate
	for _, v := range vs {
		kind, known := kinds[v.GetKind()]
		addr, err := netip.ParseAddrPort(v.GetAddress())
		if known && err == nil && addr.Port() != 0 {
			cs = append(cs, wire.Candidate{Kind: kind, Addr: addr})
		}
	}
	return cs
}

var kinds = map[string]wire.CandidateKind{
	"host": wire.Host, "reflexive": wire.Reflexive, "mapped": wire.Mapped, "observed": wire.Observed, "guess": wire.Guess,
}

// Words of RFC 4787 in the control protocol, by their number in package wire.
var (
	behaviours  = []string{"", "endpoint-independent", "address-dependent", "address-and-port-dependent"}
	allocations = []string{"", "preserving", "sequential", "random"}
)

func natOf(v *meshdv1.Nat) wire.NAT {
	return wire.NAT{
		Mapping:    wire.Behaviour(indexOf(behaviours, v.GetMapping())),
		Filtering:  wire.Behaviour(indexOf(behaviours, v.GetFiltering())),
		Allocation: wire.Allocation(indexOf(allocations, v.GetAllocation())),
		Delta:      int16(v.GetDelta()),
		Low:        uint16(v.GetLow()),
		High:       uint16(v.GetHigh()),
	}
}

func natProto(n wire.NAT) *meshdv1.Nat {
	return &meshdv1.Nat{
		Mapping:    behaviours[n.Mapping],
		Filtering:  behaviours[n.Filtering],
		Allocation: allocations[n.Allocation],
		Delta:      int32(n.Delta),
		Low:        uint32(n.Low),
		High:       uint32(n.High),
	}
}

// indexOf returns 0, unknown, for a word it does not know.
func indexOf(words []string, word string) int { return max(0, slices.Index(words, word)) }

func unixTime(sec int64) time.Time {
	if sec == 0 {
		return time.Time{}
	}
	return time.Unix(sec, 0)
}
