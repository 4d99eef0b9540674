package apitest

import (
	"context"
	"io"
	"net/http"
	"net/netip"

	"meshd/coordinator/api"
	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/dnssd"
)

// zone is the DNS zone of the mesh.
const zone = "apitest.internal"

// exchange answers a member's DNS message. The zone is made for it anew: there
// are few members, and few messages.
func (h *Hub) exchange(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	m, err := h.caller(r.Context())
	server, broken := h.dnsServer()
	h.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	message, err := io.ReadAll(http.MaxBytesReader(w, r.Body, api.MaxDNSMessage))
	if err == nil {
		err = broken
	}
	var answer []byte
	if err == nil {
		answer, err = server.Exchange(r.Context(), m.info.Name, message)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", api.DNSMediaType)
	w.Write(answer)
}

// dnsServer serves the members of now. h.mu is held.
func (h *Hub) dnsServer() (*dnssd.Server, error) {
	z, err := dnssd.NewZone(dnssd.ZoneConfig{Name: zone})
	if err != nil {
		return nil, err
	}
	keys := map[string][32]byte{}
	for _, m := range h.members {
		if m == nil || m.pending {
			continue
		}
		info := m.info
		key, err := dnssd.DeriveKey(m.relay, zone, info.Name, info.IdentityKey)
		if err != nil {
			return nil, err
		}
		keys[info.Name] = key.Secret
		if err := z.Set(zoneMember(info)); err != nil {
			return nil, err
		}
	}
	return dnssd.NewServer(dnssd.ServerConfig{
		Zone: z, Publish: h.publish,
		Secret: func(member string) ([]byte, bool) { key, ok := keys[member]; return key[:], ok },
	}), nil
}

func zoneMember(info *meshdv1.Member) dnssd.Member {
	m := dnssd.Member{Name: info.Name, Key: [32]byte(info.WireguardKey), Online: info.Online}
	for _, e := range info.Endpoints {
		if ap, err := netip.ParseAddrPort(e.Address); err == nil {
			m.Candidates = append(m.Candidates, dnssd.Candidate{Kind: e.Kind, Addr: ap})
		}
	}
	m.Publication = dnssd.Publish(m.Candidates)
	m.Traits, m.Text = api.Traits(info.Nat, info.Relay), info.Text
	for _, s := range info.Services {
		service := dnssd.Service{Instance: s.Instance, Type: s.Type, Port: uint16(s.Port), Text: s.Text, Host: s.Host}
		for _, text := range s.Addresses {
			if a, err := netip.ParseAddr(text); err == nil {
				service.Addresses = append(service.Addresses, a)
			}
		}
		m.Services = append(m.Services, service)
	}
	return m
}

// publish takes in what a member says of itself.
func (h *Hub) publish(_ context.Context, name string, p dnssd.Publication) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.named(name)
	nat, relay, err := api.ParseTraits(p.Traits)
	if m == nil || err != nil {
		return dnssd.ErrRefused
	}
	m.info.Endpoints, m.info.Services = nil, nil
	for _, c := range p.Candidates {
		m.info.Endpoints = append(m.info.Endpoints, &meshdv1.Endpoint{Address: c.Addr.String(), Kind: c.Kind})
	}
	for _, s := range p.Services {
		service := &meshdv1.Service{Instance: s.Instance, Type: s.Type, Port: uint32(s.Port), Text: s.Text, Host: s.Host}
		for _, a := range s.Addresses {
			service.Addresses = append(service.Addresses, a.String())
		}
		m.info.Services = append(m.info.Services, service)
	}
	m.info.Nat, m.info.Relay, m.info.Text = nat, relay, p.Text
	m.info.Generation++
	h.changed(m)
	return nil
}
