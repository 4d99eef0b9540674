package coordinator

import (
	"net/netip"
	"time"

	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/dnssd"
	"meshd/punch/wire"
)

// memberRecord is a member as other members see it.
func memberRecord(m Member) *meshdv1.Member {
	r := &meshdv1.Member{
		Id:           uint32(m.ID),
		Name:         m.Name,
		IdentityKey:  m.Identity[:],
		WireguardKey: m.WireGuard[:],
		Online:       m.Online,
		LastSeenUnix: unix(m.LastSeen),
		Generation:   m.Generation,
		Nat:          natRecord(m.NAT),
		Tags:         m.Tags,
		Signature:    m.Signature,
		Relay:        m.Relaying,
		Services:     serviceRecords(m.Services),
		Text:         m.Text,
		Plain:        m.Plain,
	}
	for _, a := range m.Addresses() {
		r.Addresses = append(r.Addresses, a.String())
		r.AllowedIps = append(r.AllowedIps, netip.PrefixFrom(a, a.BitLen()).String())
	}
	for _, e := range m.Endpoints {
		r.Endpoints = append(r.Endpoints, &meshdv1.Endpoint{Address: e.Addr.String(), Kind: e.Kind})
	}
	return r
}

func serviceRecords(list []dnssd.Service) (records []*meshdv1.Service) {
	for _, s := range list {
		r := &meshdv1.Service{Instance: s.Instance, Type: s.Type, Port: uint32(s.Port), Text: s.Text, Host: s.Host}
		for _, a := range s.Addresses {
			r.Addresses = append(r.Addresses, a.String())
		}
		records = append(records, r)
	}
	return records
}

// selfRecord is a member as it sees itself. Who is not active is told nothing
// that it could use.
func selfRecord(m Member, key wire.RelayKey) *meshdv1.Self {
	s := &meshdv1.Self{Id: uint32(m.ID), Name: m.Name, Pending: !m.Active(), ExpiresUnix: unix(m.Expires)}
	if !m.Active() {
		return s
	}
	for _, a := range m.Addresses() {
		s.Addresses = append(s.Addresses, a.String())
	}
	s.RelayKey, s.Tags = key[:], m.Tags
	return s
}

func meshRecord(s Settings, relays []*meshdv1.Relay) *meshdv1.Mesh {
	return &meshdv1.Mesh{
		Name: s.Mesh, Prefix4: s.Prefix4.String(), Prefix6: s.Prefix6.String(), Zone: s.Zone, Relays: relays,
		LanSecret: lanSecret(s.RelaySecret),
	}
}

// infoRecord is a member as the owner of the mesh sees it.
func infoRecord(m Member) *meshdv1.MemberInfo {
	info := &meshdv1.MemberInfo{
		Member:      memberRecord(m),
		Pending:     m.Standing == Pending,
		Expired:     m.Standing == Expired,
		Ephemeral:   m.Ephemeral,
		CreatedUnix: unix(m.Created),
		Version:     m.Version,
		Relay:       m.Relay,
	}
	if m.Observed.IsValid() {
		info.Observed = m.Observed.String()
	}
	return info
}

func keyRecord(k Key, now time.Time) *meshdv1.Key {
	return &meshdv1.Key{
		Id: uint32(k.ID), Reusable: k.Reusable, Approved: k.Approved, Ephemeral: k.Ephemeral, Tags: k.Tags,
		CreatedUnix: unix(k.Created), ExpiresUnix: unix(k.Expires), Used: k.Used, Expired: k.Refusal(now) != nil,
	}
}

func natRecord(n NAT) *meshdv1.Nat {
	if n == (NAT{}) {
		return nil
	}
	return &meshdv1.Nat{
		Mapping: n.Mapping, Filtering: n.Filtering, Allocation: n.Allocation, Delta: n.Delta, Low: n.Low, High: n.High,
	}
}

func natOf(r *meshdv1.Nat) NAT {
	return NAT{
		Mapping: r.GetMapping(), Filtering: r.GetFiltering(), Allocation: r.GetAllocation(),
		Delta: r.GetDelta(), Low: r.GetLow(), High: r.GetHigh(),
	}
}

// unix turns a time into the protocol's seconds; zero means never on both sides.
func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
