// Package apitest is the coordinator's in-memory twin, for the agent's tests:
// a real TLS server on loopback with a few dozen lines of membership behind it.
//
// It admits by one secret, hands out addresses in the order of joining, streams
// maps and deltas, and does at once what a test tells it: hold members back,
// approve or delete them, push any message, cut streams, be away and come back.
// It has no store, no policy and no relay.
package apitest

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"meshd/coordinator/api"
	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/coordinator/api/meshd/v1/meshdv1connect"
)

// Hub is a coordinator in memory. Safe for concurrent use, but for Start and
// Stop, which belong to one goroutine.
type Hub struct {
	Identity *api.Identity
	Addr     netip.AddrPort // of the control port; stays across Stop and Start

	tb     testing.TB
	secret [16]byte
	relays []*meshdv1.Relay

	mu      sync.Mutex // guards following
	server  *http.Server
	hold    bool
	members []*member // in order of joining; gone ones stay, as nil
	joins   int
}

// member is a member and its open map stream, if any.
type member struct {
	info    *meshdv1.Member
	pending bool
	relay   []byte                    // key of its relay sessions
	out     chan *meshdv1.MapResponse // nil: not connected; closed: cut off
}

// heartbeat is as often as the protocol asks for at least.
const heartbeat = 20 * time.Second

// New starts a hub that ends with the test. Relays are what it names in its
// maps; none means agents have nothing to relay by.
func New(tb testing.TB, relays ...*meshdv1.Relay) *Hub {
	tb.Helper()
	id, err := api.NewIdentity()
	if err != nil {
		tb.Fatal(err)
	}
	h := &Hub{
		Identity: id,
		Addr:     netip.MustParseAddrPort("127.0.0.1:0"),
		tb:       tb,
		secret:   [16]byte([]byte("apitest's secret")),
		relays:   relays,
	}
	h.Start()
	tb.Cleanup(h.Stop)
	return h
}

// Start serves again after Stop, at the same address, with the same members.
func (h *Hub) Start() {
	h.tb.Helper()
	ln, err := net.Listen("tcp", h.Addr.String())
	if err != nil {
		h.tb.Fatal(err)
	}
	h.Addr = ln.Addr().(*net.TCPAddr).AddrPort()
	path, handler := meshdv1connect.NewControlServiceHandler(service{h})
	mux := http.NewServeMux()
	mux.Handle(path, handler)
	mux.HandleFunc("POST "+api.DNSPath, h.exchange)
	server := &http.Server{Handler: api.Authenticate(mux), ErrorLog: log.New(io.Discard, "", 0)}
	h.mu.Lock()
	h.server = server
	h.mu.Unlock()
	go server.Serve(tls.NewListener(ln, api.ServerTLS(h.Identity))) // ends with Stop
}

// Stop makes the hub unreachable: nothing listens, and every stream breaks.
func (h *Hub) Stop() {
	h.Drop()
	h.mu.Lock()
	server := h.server
	h.mu.Unlock()
	server.Close()
}

// Join returns a join string that admits any number of agents.
func (h *Hub) Join() api.JoinString {
	return api.JoinString{
		Hosts:  []string{h.Addr.Addr().String()},
		Port:   h.Addr.Port(),
		Pin:    h.Identity.Pin(),
		Secret: h.secret,
	}
}

// Hold makes new members wait for Approve.
func (h *Hub) Hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hold = true
}

// Approve admits a pending member, and tells everyone.
func (h *Hub) Approve(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m := h.named(name); m != nil {
		m.pending = false
		m.send(h.full(m))
		h.changed(m)
	}
}

// Delete ends a membership, cuts its stream and tells the others.
func (h *Hub) Delete(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m := h.named(name); m != nil {
		h.remove(m)
	}
}

// Push sends a message to every connected member, as it is.
func (h *Hub) Push(msg *meshdv1.MapResponse) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tellOthers(nil, msg)
}

// Drop cuts every map stream; agents may come back at once.
func (h *Hub) Drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.members {
		if m != nil {
			m.cut()
		}
	}
}

// Member returns what the hub knows of a member; nil if there is none.
func (h *Hub) Member(name string) *meshdv1.Member {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m := h.named(name); m != nil {
		return clone(m.info)
	}
	return nil
}

// Joins returns how often Join was called.
func (h *Hub) Joins() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.joins
}

// Below, h.mu is held.

func (h *Hub) named(name string) *member {
	return h.find(func(m *member) bool { return m.info.Name == name })
}

func (h *Hub) find(is func(*member) bool) *member {
	for _, m := range h.members {
		if m != nil && is(m) {
			return m
		}
	}
	return nil
}

// caller returns the member that makes a call.
func (h *Hub) caller(ctx context.Context) (*member, error) {
	key, _ := api.Caller(ctx)
	if m := h.find(func(m *member) bool { return string(m.info.IdentityKey) == string(key) }); m != nil {
		return m, nil
	}
	return nil, api.NewError(connect.CodeUnauthenticated, "this machine is no member of mesh apitest", "join it")
}

func (h *Hub) add(key, wireguard []byte, name string) *member {
	n := len(h.members) + 1
	for base, i := name, 2; h.named(name) != nil; i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	m := &member{pending: h.hold, relay: make([]byte, 32), info: &meshdv1.Member{
		Id:           uint32(n),
		Name:         name,
		IdentityKey:  key,
		WireguardKey: wireguard,
		Addresses:    []string{fmt.Sprintf("100.96.0.%d", n), fmt.Sprintf("fd00:6d65:7368::%x", n)},
		AllowedIps:   []string{fmt.Sprintf("100.96.0.%d/32", n), fmt.Sprintf("fd00:6d65:7368::%x/128", n)},
	}}
	m.relay[0] = byte(n)
	h.members = append(h.members, m)
	return m
}

func (h *Hub) remove(gone *member) {
	gone.cut()
	h.members[gone.info.Id-1] = nil
	h.tellOthers(gone, &meshdv1.MapResponse{Removed: []uint32{gone.info.Id}})
}

func (h *Hub) tellOthers(but *member, msg *meshdv1.MapResponse) {
	for _, m := range h.members {
		if m != nil && m != but && !m.pending {
			m.send(msg)
		}
	}
}

// changed tells the others of a member that is no longer what it was.
func (h *Hub) changed(m *member) {
	if !m.pending {
		h.tellOthers(m, &meshdv1.MapResponse{Members: []*meshdv1.Member{clone(m.info)}})
	}
}

// full is the first message of a stream.
func (h *Hub) full(m *member) *meshdv1.MapResponse {
	self := &meshdv1.Self{Id: m.info.Id, Name: m.info.Name, Pending: m.pending}
	if m.pending {
		return &meshdv1.MapResponse{Full: true, Self: self}
	}
	self.Addresses, self.RelayKey = m.info.Addresses, m.relay
	msg := &meshdv1.MapResponse{Full: true, Self: self, Mesh: &meshdv1.Mesh{
		Name: "apitest", Prefix4: "100.96.0.0/16", Prefix6: "fd00:6d65:7368::/48", Zone: zone, Relays: h.relays,
		LanSecret: bytes.Repeat(h.secret[:], 2),
	}}
	for _, other := range h.members {
		if other != nil && other != m && !other.pending {
			msg.Members = append(msg.Members, clone(other.info))
		}
	}
	return msg
}
