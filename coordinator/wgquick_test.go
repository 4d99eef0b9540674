package coordinator

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	meshdv1 "meshd/coordinator/api/meshd/v1"
)

func TestWireGuardConfig(t *testing.T) {
	key := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	c := &meshdv1.ClientSettings{
		Member: &meshdv1.MemberInfo{Member: &meshdv1.Member{
			Name: "phone", WireguardKey: key(1), AllowedIps: []string{"100.96.0.4/32", "fd12::4/128"},
		}},
		HubKey: key(2), HubEndpoint: "hub.example:3478", Dns: "hub.example:53", Zone: "home.internal",
		Peers: []*meshdv1.Member{
			{Name: "nas", WireguardKey: key(3), AllowedIps: []string{"100.96.0.2/32"}, Online: true, Endpoints: []*meshdv1.Endpoint{
				{Address: "192.168.1.2:41641", Kind: "host"}, {Address: "203.0.113.9:2000", Kind: "reflexive"}, {Address: "[2001:db8::1]:3000", Kind: "mapped"},
			}},
			{Name: "laptop", WireguardKey: key(4), AllowedIps: []string{"100.96.0.3/32"}, Endpoints: []*meshdv1.Endpoint{{Address: "203.0.113.8:2000", Kind: "mapped"}}},
		},
	}
	want := `# phone in the mesh home.internal, for wg-quick
[Interface]
# PrivateKey = the one that belongs to the public key AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=
Address = 100.96.0.4/32, fd12::4/128

# The coordinator: it hears handshakes, to know where this device is, and answers none.
[Peer]
PublicKey = AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=
Endpoint = hub.example:3478
PersistentKeepalive = 25

# nas
[Peer]
PublicKey = AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=
AllowedIPs = 100.96.0.2/32
Endpoint = [2001:db8::1]:3000
PersistentKeepalive = 25

# laptop
[Peer]
PublicKey = BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ=
AllowedIPs = 100.96.0.3/32
PersistentKeepalive = 25
`
	if got := WireGuardConfig(c, ""); got != want {
		t.Errorf("(-got +want)\n%s", cmp.Diff(got, want))
	}
	if got, want := WgsdClient(c, ""), "wgsd-client -device wg0 -dns hub.example:53 -zone home.internal"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	c.Dns, c.HubEndpoint = "", ""
	if got := WgsdClient(c, ""); got != "" {
		t.Errorf("got %q without DNS", got)
	}
}
