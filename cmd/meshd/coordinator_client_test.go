package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"meshd/coordinator/api"
	meshdv1 "meshd/coordinator/api/meshd/v1"
)

func router(key []byte) *meshdv1.MemberInfo {
	return &meshdv1.MemberInfo{Observed: "203.0.113.5:51820", CreatedUnix: noon.Unix(), Member: &meshdv1.Member{
		Id: 7, Name: "router", WireguardKey: key, Addresses: []string{"100.96.0.7", "fd12::7"}, AllowedIps: []string{"100.96.0.7/32"}, Plain: true, Online: true,
	}}
}

func (h *fakeHub) settings(key []byte) *meshdv1.ClientSettings {
	c := &meshdv1.ClientSettings{Member: router(key), HubKey: make([]byte, 32), HubEndpoint: "hub.example:3478", Zone: "home.internal"}
	if !h.empty {
		c.Dns = "hub.example:53"
	}
	return c
}

func (h *fakeHub) AddClient(_ context.Context, r *meshdv1.AddClientRequest) (*meshdv1.AddClientResponse, error) {
	if r.Name != "router" {
		return nil, api.NewError(connect.CodeAlreadyExists, `name "nas" belongs to member number 2`, "rename that one first, or choose another name")
	}
	return &meshdv1.AddClientResponse{Client: h.settings(r.WireguardKey)}, nil
}

func (h *fakeHub) ClientConfig(_ context.Context, r *meshdv1.ClientConfigRequest) (*meshdv1.ClientConfigResponse, error) {
	if r.Member != "router" {
		return nil, api.NewError(connect.CodeInvalidArgument, `member "nas" runs meshd: it configures itself`, "")
	}
	return &meshdv1.ClientConfigResponse{Client: h.settings(bytes.Repeat([]byte{1}, 32))}, nil
}

// members has the router too, for those who ask for clients.
func (h *fakeHub) members(list ...*meshdv1.MemberInfo) []*meshdv1.MemberInfo {
	if h.plain {
		list = append(list, router(bytes.Repeat([]byte{1}, 32)))
	}
	return list
}

const routerKey = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="

func TestClients(t *testing.T) {
	b, h := newBench(t), &fakeHub{plain: true}
	b.serveHub(t, h)
	config := `
		# router in the mesh home.internal, for wg-quick
		[Interface]
		# PrivateKey = the one that belongs to the public key ` + routerKey + `
		Address = 100.96.0.7/32

		# The coordinator: it hears handshakes, to know where this device is, and answers none.
		[Peer]
		PublicKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
		Endpoint = hub.example:3478
		PersistentKeepalive = 25
	`
	fresh := "to keep the endpoints fresh, run every minute on the device: wgsd-client -device wg0 -dns hub.example:53 -zone home.internal"
	b.do(t, "coordinator client add router --public-key "+routerKey, 0, config, fresh)
	b.do(t, "coordinator client config router", 0, config, fresh)
	b.do(t, "coordinator client add nas --public-key "+routerKey, 1, "", `
		meshd: name "nas" belongs to member number 2
		hint: rename that one first, or choose another name
	`)
	b.do(t, "coordinator client add router --public-key AAAA", 2, "", `
		meshd: --public-key AAAA: want 44 characters of base64, as wg pubkey prints
		hint: meshd coordinator client add --help
	`)
	b.do(t, "coordinator client add router --qr --public-key "+routerKey, 2, "", `
		meshd: meshd coordinator client add: --qr goes with neither --json nor --public-key
		hint: meshd coordinator client add --help
	`)
	b.do(t, "coordinator client list", 0, `
		ID  NAME    ADDRESSES            STATE   SEEN AT            PUBLIC KEY
		7   router  100.96.0.7, fd12::7  online  203.0.113.5:51820  `+routerKey+`
	`, "")
	b.do(t, "coordinator client delete nas", 1, "", `meshd: member "nas" runs meshd: it configures itself`)
	h.empty = true
	b.do(t, "coordinator client config router", 0, config, "the coordinator answers no DNS, so endpoints stay as they are here: start it with --dns-listen ADDR:PORT")

	t.Log("without a key, a pair is made, and the private one is in the configuration")
	b.stdout.Reset()
	if code := b.run(t.Context(), strings.Fields("coordinator client add router --json")); code != 0 {
		t.Errorf("exit code %d: %s", code, b.stderr.String())
	}
	var c clientJSON
	if err := json.Unmarshal(b.stdout.Bytes(), &c); err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(c.Config, "\nPrivateKey = ")
	private, _, _ := strings.Cut(line, "\n")
	if c.Name != "router" || c.PublicKey == routerKey || len(c.PublicKey) != 44 || len(private) != 44 || private == c.PublicKey {
		t.Errorf("got %+v", c)
	}
}
