package agent

import (
	"context"
	"errors"

	"meshd/agent/localapi"
	"meshd/dnssd"
)

// DNSKey implements [localapi.Backend]. The coordinator derives the same key
// from what both know, so that it never travels.
func (a *Agent) DNSKey(context.Context) (localapi.DNSKey, error) {
	v := a.view.Load()
	if v.netmap == nil {
		return localapi.DNSKey{}, localapi.WithHint(errors.New("this machine has no name in a mesh yet"), "meshd status")
	}
	m := v.netmap
	k, err := dnssd.DeriveKey(m.Self.RelayKey[:], m.Mesh.Zone, m.Self.Name, v.identity)
	if err != nil {
		return localapi.DNSKey{}, err
	}
	return localapi.DNSKey{Name: k.Name, Algorithm: "hmac-sha256", Secret: k.Secret[:]}, nil
}
