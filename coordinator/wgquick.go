package coordinator

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"

	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/dnssd"
)

// plainKeepalive is how often, in seconds, a plain device sends something: below
// the 30 s after which common NATs forget a mapping. To the hub, which never
// answers, WireGuard begins a handshake at least that often.
const plainKeepalive = 25

// WireGuardConfig writes what a plain device needs as wg-quick reads it. private
// is its private key in base64; empty: it is left for its owner to fill in.
func WireGuardConfig(c *meshdv1.ClientSettings, private string) string {
	var b strings.Builder
	m := c.GetMember().GetMember()
	fmt.Fprintf(&b, "# %s in the mesh %s, for wg-quick\n[Interface]\n", m.GetName(), c.GetZone())
	if private == "" {
		b.WriteString("# PrivateKey = the one that belongs to the public key " + base64Key(m.GetWireguardKey()) + "\n")
	} else {
		fmt.Fprintf(&b, "PrivateKey = %s\n", private)
	}
	fmt.Fprintf(&b, "Address = %s\n", strings.Join(m.GetAllowedIps(), ", "))
	if c.GetHubEndpoint() != "" {
		b.WriteString("\n# The coordinator: it hears handshakes, to know where this device is, and answers none.\n")
		writePeer(&b, c.GetHubKey(), nil, c.GetHubEndpoint())
	}
	for _, p := range c.GetPeers() {
		fmt.Fprintf(&b, "\n# %s\n", p.GetName())
		writePeer(&b, p.GetWireguardKey(), p.GetAllowedIps(), endpointOf(p))
	}
	return b.String()
}

func writePeer(b *strings.Builder, key []byte, allowed []string, endpoint string) {
	fmt.Fprintf(b, "[Peer]\nPublicKey = %s\n", base64Key(key))
	if len(allowed) > 0 {
		fmt.Fprintf(b, "AllowedIPs = %s\n", strings.Join(allowed, ", "))
	}
	if endpoint != "" {
		fmt.Fprintf(b, "Endpoint = %s\n", endpoint)
	}
	fmt.Fprintf(b, "PersistentKeepalive = %d\n", plainKeepalive)
}

func base64Key(key []byte) string { return base64.StdEncoding.EncodeToString(key) }

// endpointOf is where the zone says that a member is; empty: nowhere.
func endpointOf(m *meshdv1.Member) string {
	var list []dnssd.Candidate
	for _, e := range m.GetEndpoints() {
		if ap, err := netip.ParseAddrPort(e.GetAddress()); err == nil {
			list = append(list, dnssd.Candidate{Kind: e.GetKind(), Addr: ap})
		}
	}
	if best := dnssd.Publish(list).Endpoint; best.IsValid() && m.GetOnline() {
		return best.String()
	}
	return ""
}

// WgsdClient is the command that keeps a plain device's endpoints fresh: each run
// asks the zone where the peers of the interface are. Empty: this hub answers no
// DNS.
func WgsdClient(c *meshdv1.ClientSettings, device string) string {
	if c.GetDns() == "" {
		return ""
	}
	return fmt.Sprintf("wgsd-client -device %s -dns %s -zone %s", cmp.Or(device, "wg0"), c.GetDns(), c.GetZone())
}
