package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"meshd/coordinator"
	"meshd/coordinator/api"
	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/coordinator/api/meshd/v1/meshdv1connect"
	"meshd/coordinator/store"
	"meshd/dnssd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what should come at once.
const patience = 10 * time.Second

// hub is a coordinator that runs on loopback.
type hub struct {
	t      *testing.T
	config coordinator.Config
	admin  meshdv1connect.AdminServiceClient
	stop   func()
}

func loopback(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
}

// newHub starts a coordinator; a nil store means a SQLite file in the state folder.
func newHub(t *testing.T, s coordinator.Store) *hub {
	t.Helper()
	h := &hub{t: t, config: coordinator.Config{
		StateDir: t.TempDir(), Store: s, Version: "test", Log: slog.New(slog.DiscardHandler),
		Listen: loopback(0), UDP: []netip.AddrPort{loopback(0), loopback(0)}, Wishes: coordinator.Wishes{Mesh: "home"},
	}}
	h.start()
	t.Cleanup(func() { h.stop() })
	return h
}

// start runs the coordinator, at the same port as before.
func (h *hub) start() {
	h.t.Helper()
	config := h.config
	if config.Store == nil {
		db, err := store.Open(h.t.Context(), coordinator.StorePath(config.StateDir))
		if err != nil {
			h.t.Fatal(err)
		}
		config.Store = db
	}
	c, err := coordinator.New(config)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := c.Run(ctx); err != nil {
			h.t.Errorf("coordinator ended: %v", err)
		}
	})
	h.admin = api.DialAdmin(coordinator.SocketPath(config.StateDir))
	h.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		if h.config.Store == nil {
			config.Store.Close()
		}
	})
	status, err := h.admin.Status(h.t.Context(), &meshdv1.StatusRequest{})
	if err != nil {
		h.t.Fatal(err)
	}
	h.config.Listen = netip.MustParseAddrPort(status.GetListen())
}

// key creates a join key and returns its join string, parsed.
func (h *hub) key(r *meshdv1.CreateKeyRequest) api.JoinString {
	h.t.Helper()
	resp, err := h.admin.CreateKey(h.t.Context(), r)
	if err != nil {
		h.t.Fatal(err)
	}
	j, err := api.ParseJoin(resp.GetJoin())
	if err != nil {
		h.t.Fatal(err)
	}
	return j
}

// device is an agent's end of the protocol.
type device struct {
	t        *testing.T
	name     string
	identity *api.Identity
	client   *api.Client
	joined   *meshdv1.JoinResponse
	self     atomic.Pointer[meshdv1.Self] // as a map last told
}

// publish says where the device is, by a DNS UPDATE over its connection. A device
// that has not seen a map gets one for it.
func (d *device) publish(p dnssd.Publication) error {
	d.t.Helper()
	if d.self.Load() == nil {
		s := d.watch()
		s.next()
		s.close()
	}
	self := d.self.Load()
	key, err := dnssd.DeriveKey(self.GetRelayKey(), "home.internal", self.GetName(), d.identity.Public())
	if err != nil {
		d.t.Fatal(err)
	}
	r := dnssd.Registration{Zone: "home.internal", Member: self.GetName(), Peer: [32]byte(d.identity.Public()), Key: key, New: p}
	m, err := r.Message(time.Now())
	if err != nil {
		d.t.Fatal(err)
	}
	answer, err := d.client.Exchange(d.t.Context(), m.Data)
	if err != nil {
		return err
	}
	return m.Check(answer)
}

// at is a publication of candidates, each "kind ip:port".
func at(candidates ...string) dnssd.Publication {
	var list []dnssd.Candidate
	for _, c := range candidates {
		kind, addr, _ := strings.Cut(c, " ")
		list = append(list, dnssd.Candidate{Kind: kind, Addr: netip.MustParseAddrPort(addr)})
	}
	return dnssd.Publish(list)
}

func (h *hub) device(name string, j api.JoinString) *device {
	h.t.Helper()
	id, err := api.NewIdentity()
	if err != nil {
		h.t.Fatal(err)
	}
	d := &device{t: h.t, name: name, identity: id, client: api.Dial(api.ClientConfig{
		Hosts: j.Hosts, Port: j.Port, Pin: j.Pin, Identity: id,
	})}
	h.t.Cleanup(d.client.CloseIdle)
	return d
}

// tryJoin asks for membership; the device's WireGuard key is its identity's bytes.
func (d *device) tryJoin(j api.JoinString) (err error) {
	d.joined, err = d.client.Control.Join(d.t.Context(), &meshdv1.JoinRequest{
		WireguardKey: d.identity.Public(), Hostname: d.name, Secret: j.Secret[:], Version: "test",
	})
	return err
}

// join makes a device that has joined.
func (h *hub) join(name string, j api.JoinString) *device {
	h.t.Helper()
	d := h.device(name, j)
	if err := d.tryJoin(j); err != nil {
		h.t.Fatalf("%s joins: %v", name, err)
	}
	return d
}

// stream is an open map stream.
type stream struct {
	t        *testing.T
	close    func()
	messages chan *meshdv1.MapResponse // closed at the end, when err is set
	err      error
}

func (d *device) watch() *stream {
	d.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &stream{t: d.t, messages: make(chan *meshdv1.MapResponse, 1000)}
	received, err := d.client.Control.Map(ctx, &meshdv1.MapRequest{Version: "test"})
	if err != nil {
		d.t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(s.messages)
		for received.Receive() {
			if self := received.Msg().GetSelf(); self != nil {
				d.self.Store(self)
			}
			s.messages <- received.Msg()
		}
		s.err = received.Err()
	})
	s.close = sync.OnceFunc(func() { cancel(); reading.Wait(); received.Close() })
	d.t.Cleanup(s.close)
	return s
}

// next awaits the next message.
func (s *stream) next() *meshdv1.MapResponse {
	s.t.Helper()
	select {
	case m, ok := <-s.messages:
		if !ok {
			s.t.Fatalf("stream ended: %v", s.err)
		}
		return m
	case <-time.After(patience):
		s.t.Fatal("no message came")
	}
	return nil
}

// ends awaits the end of the stream.
func (s *stream) ends(code connect.Code, part string) {
	s.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case _, ok := <-s.messages:
			if !ok {
				failed(s.t, s.err, code, part)
				return
			}
		case <-deadline:
			s.t.Fatal("the stream did not end")
		}
	}
}

func failed(t *testing.T, err error, code connect.Code, part string) {
	t.Helper()
	if got := connect.CodeOf(err); err == nil || got != code || !strings.Contains(err.Error(), part) {
		t.Errorf("got %v, want %v: …%s…", err, code, part)
	}
}

// member wants a delta about one member, and returns it.
func (s *stream) member(name string) *meshdv1.Member {
	s.t.Helper()
	m := s.next()
	if m.GetFull() || len(m.GetMembers()) != 1 || m.GetMembers()[0].GetName() != name || m.GetHubTimeUnixMs() == 0 {
		s.t.Fatalf("got %v, want a delta about %s", m, name)
	}
	return m.GetMembers()[0]
}

func names(m *meshdv1.MapResponse) []string {
	var names []string
	for _, m := range m.GetMembers() {
		names = append(names, m.GetName())
	}
	slices.Sort(names)
	return names
}

func TestFromInvitationToMap(t *testing.T) {
	h := newHub(t, nil)
	j := h.key(&meshdv1.CreateKeyRequest{Reusable: true, Tags: []string{"lan"}})

	t.Log("the laptop joins, is told that it is pending, and nothing else")
	laptop := h.join("Laptop", j)
	if !laptop.joined.GetPending() || laptop.joined.GetName() != "laptop" || laptop.joined.GetMesh() != "home" {
		t.Errorf("got %v, want pending, laptop, home", laptop.joined)
	}
	atLaptop := laptop.watch()
	first := atLaptop.next()
	if !first.GetFull() || !first.GetSelf().GetPending() || first.GetMesh() != nil || len(first.GetMembers()) > 0 ||
		len(first.GetSelf().GetRelayKey()) > 0 || len(first.GetSelf().GetAddresses()) > 0 {
		t.Errorf("a pending member is told %v", first)
	}

	t.Log("the owner approves it: the full map comes by itself")
	approved, err := h.admin.ApproveMember(t.Context(), &meshdv1.ApproveMemberRequest{Member: "laptop"})
	if err != nil || approved.GetMember().GetPending() {
		t.Fatalf("got %v, %v", approved, err)
	}
	full := atLaptop.next()
	self := full.GetSelf()
	if !full.GetFull() || self.GetPending() || len(self.GetRelayKey()) != 32 || !slices.Equal(self.GetTags(), []string{"lan"}) ||
		len(self.GetAddresses()) != 2 || self.GetAddresses()[0] != "100.96.0.2" {
		t.Errorf("got self %v", self)
	}
	if mesh := full.GetMesh(); mesh.GetName() != "home" || mesh.GetPrefix4() != "100.96.0.0/16" || mesh.GetZone() != "home.internal" ||
		len(mesh.GetRelays()) != 1 || len(mesh.GetRelays()[0].GetUdp()) != 2 || mesh.GetRelays()[0].GetWebsocket() != "/relay" {
		t.Errorf("got mesh %v", mesh)
	}

	t.Log("a second member appears at the first, step by step")
	nas := h.join("nas", h.key(&meshdv1.CreateKeyRequest{Approved: true}))
	if m := atLaptop.member("nas"); m.GetOnline() || !slices.Equal(m.GetAllowedIps(), []string{"100.96.0.3/32", m.GetAddresses()[1] + "/128"}) {
		t.Errorf("got %v, want nas, offline", m)
	}
	atNAS := nas.watch()
	if m := atNAS.next(); !m.GetFull() || !slices.Equal(names(m), []string{"laptop"}) || !m.GetMembers()[0].GetOnline() {
		t.Errorf("got %v, want the laptop, online", m)
	}
	if m := atLaptop.member("nas"); !m.GetOnline() {
		t.Errorf("got %v, want nas online", m)
	}

	t.Log("endpoints travel")
	here := at("host 192.168.1.2:41641")
	here.Traits = api.Traits(&meshdv1.Nat{Mapping: "endpoint-independent"}, true)
	if err := nas.publish(here); err != nil {
		t.Fatal(err)
	}
	published := atLaptop.member("nas")
	if m := published; m.GetEndpoints()[0].GetAddress() != "192.168.1.2:41641" ||
		m.GetGeneration() == 0 || m.GetNat().GetMapping() != "endpoint-independent" || !m.GetRelay() {
		t.Errorf("got %v", m)
	}

	t.Log("an offer to relay can be taken back, and the endpoints are as they were")
	here.Traits = api.Traits(&meshdv1.Nat{Mapping: "endpoint-independent"}, false)
	if err := nas.publish(here); err != nil {
		t.Fatal(err)
	}
	if m := atLaptop.member("nas"); m.GetRelay() || m.GetGeneration() != published.GetGeneration() {
		t.Errorf("got %v, want it not to relay any more", m)
	}

	t.Log("so do new keys and names")
	if _, err := nas.client.Control.RotateKey(t.Context(), &meshdv1.RotateKeyRequest{WireguardKey: []byte(strings.Repeat("k", 32))}); err != nil {
		t.Fatal(err)
	}
	if m := atLaptop.member("nas"); string(m.GetWireguardKey()) != strings.Repeat("k", 32) {
		t.Errorf("got key %q", m.GetWireguardKey())
	}
	if _, err := h.admin.RenameMember(t.Context(), &meshdv1.RenameMemberRequest{Member: "nas", Name: "vault"}); err != nil {
		t.Fatal(err)
	}
	atLaptop.member("vault")
	if m := atNAS.next(); m.GetSelf().GetName() != "vault" {
		t.Errorf("got %v, want its new name", m)
	}

	t.Log("it goes away, and then leaves")
	atNAS.close()
	if m := atLaptop.member("vault"); m.GetOnline() || m.GetLastSeenUnix() == 0 {
		t.Errorf("got %v, want vault offline, last seen just now", m)
	}
	if _, err := nas.client.Control.Leave(t.Context(), &meshdv1.LeaveRequest{}); err != nil {
		t.Fatal(err)
	}
	if m := atLaptop.next(); !slices.Equal(m.GetRemoved(), []uint32{2}) {
		t.Errorf("got %v, want 2 removed", m)
	}
	_, err = nas.client.Control.Leave(t.Context(), &meshdv1.LeaveRequest{})
	failed(t, err, connect.CodeUnauthenticated, `no member of mesh "home"`)
	if err := nas.publish(here); err == nil || !strings.Contains(err.Error(), `403: this machine is no member of mesh "home"`) {
		t.Errorf("got %v, want 403", err)
	}
}

func TestDeletedWhileOnline(t *testing.T) {
	h := newHub(t, &coordinator.MemoryStore{})
	j := h.key(&meshdv1.CreateKeyRequest{Reusable: true, Approved: true})
	nas, laptop := h.join("nas", j), h.join("laptop", j)
	atNAS, atLaptop := nas.watch(), laptop.watch()
	atNAS.next()
	atLaptop.next()
	atNAS.member("laptop")
	if _, err := h.admin.DeleteMember(t.Context(), &meshdv1.DeleteMemberRequest{Member: "nas"}); err != nil {
		t.Fatal(err)
	}
	atNAS.ends(connect.CodeUnauthenticated, `no member of mesh "home": it was deleted`)
	if m := atLaptop.next(); !slices.Equal(m.GetRemoved(), []uint32{1}) {
		t.Errorf("got %v, want 1 removed", m)
	}
}

func TestExpiredWhileOnline(t *testing.T) {
	h := newHub(t, &coordinator.MemoryStore{})
	j := h.key(&meshdv1.CreateKeyRequest{Reusable: true, Approved: true})
	nas, laptop := h.join("nas", j), h.join("laptop", j)
	atNAS, atLaptop := nas.watch(), laptop.watch()
	atNAS.next()
	atLaptop.next()
	atNAS.member("laptop")
	if _, err := h.admin.ExpireMember(t.Context(), &meshdv1.ExpireMemberRequest{Member: "100.96.0.2"}); err != nil {
		t.Fatal(err)
	}
	if m := atNAS.next(); !m.GetFull() || !m.GetSelf().GetPending() || m.GetSelf().GetExpiresUnix() == 0 || len(m.GetMembers()) > 0 {
		t.Errorf("got %v, want an empty map, expired", m)
	}
	if m := atLaptop.next(); !slices.Equal(m.GetRemoved(), []uint32{1}) {
		t.Errorf("got %v, want 1 removed", m)
	}
	if _, err := h.admin.ApproveMember(t.Context(), &meshdv1.ApproveMemberRequest{Member: "1"}); err != nil {
		t.Fatal(err)
	}
	if m := atNAS.next(); !m.GetFull() || m.GetSelf().GetPending() || !slices.Equal(names(m), []string{"laptop"}) {
		t.Errorf("got %v, want the whole map again", m)
	}
	atLaptop.member("nas")
}

func TestOneSecretManyRunners(t *testing.T) {
	h := newHub(t, nil)
	j := h.key(&meshdv1.CreateKeyRequest{})
	errs := make([]error, 16)
	var running sync.WaitGroup
	for i := range errs {
		d := h.device(fmt.Sprint("runner", i), j)
		running.Go(func() { errs[i] = d.tryJoin(j) })
	}
	running.Wait()
	admitted := 0
	for _, err := range errs {
		if err == nil {
			admitted++
			continue
		}
		failed(t, err, connect.CodePermissionDenied, "has been used already")
	}
	if admitted != 1 {
		t.Errorf("%d agents got in by one secret, want 1", admitted)
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	h := newHub(t, nil)
	j := h.key(&meshdv1.CreateKeyRequest{Reusable: true, Approved: true})
	nas, laptop := h.join("nas", j), h.join("laptop", j)
	atNAS, atLaptop := nas.watch(), laptop.watch()
	atNAS.next()
	atLaptop.next()
	if err := nas.publish(at("host 192.168.1.2:41641")); err != nil {
		t.Fatal(err)
	}
	told := atLaptop.member("nas").GetGeneration()

	h.stop()
	atLaptop.ends(connect.CodeUnavailable, "stopping")
	h.start()

	t.Log("the first one back sees the other as if nothing had been")
	again := laptop.watch()
	m := again.next()
	if !slices.Equal(names(m), []string{"nas"}) {
		t.Fatalf("got %v, want nas", m)
	}
	if nas := m.GetMembers()[0]; !nas.GetOnline() || nas.GetGeneration() != told || len(nas.GetEndpoints()) != 1 {
		t.Errorf("got %v, want it online, with its endpoints", nas)
	}
	t.Log("its secret is still good, its address still taken")
	if d := h.join("phone", j); d.joined.GetName() != "phone" {
		t.Errorf("got %v", d.joined)
	}
	if addr := again.member("phone").GetAddresses()[0]; addr != "100.96.0.4" {
		t.Errorf("got %s, want 100.96.0.4", addr)
	}
}

func TestNewerStreamReplacesOlder(t *testing.T) {
	h := newHub(t, &coordinator.MemoryStore{})
	nas := h.join("nas", h.key(&meshdv1.CreateKeyRequest{Approved: true}))
	older := nas.watch()
	older.next()
	newer := nas.watch()
	newer.next()
	older.ends(connect.CodeAborted, "newer map stream")
	status, err := h.admin.Status(t.Context(), &meshdv1.StatusRequest{})
	if err != nil || status.GetOnline() != 1 {
		t.Errorf("got %v, %v, want it online still", status, err)
	}
}

func TestFullDiskChangesNothing(t *testing.T) {
	disk := &coordinator.MemoryStore{}
	h := newHub(t, disk)
	j := h.key(&meshdv1.CreateKeyRequest{Approved: true})
	disk.Fail(errors.New("database or disk is full (13)"))

	d := h.device("nas", j)
	failed(t, d.tryJoin(j), connect.CodeUnavailable, "nothing was changed: the coordinator cannot write its store: database or disk is full")
	status, err := h.admin.Status(t.Context(), &meshdv1.StatusRequest{})
	if err != nil || status.GetMembers() != 0 || len(status.GetHealth()) != 1 || !strings.Contains(status.GetHealth()[0], "disk is full") {
		t.Errorf("got %v, %v, want no member, and a line about the disk", status, err)
	}

	t.Log("room is made: the same single-use secret is good")
	disk.Fail(nil)
	if err := d.tryJoin(j); err != nil {
		t.Fatal(err)
	}
	status, err = h.admin.Status(t.Context(), &meshdv1.StatusRequest{})
	if err != nil || status.GetMembers() != 1 || len(status.GetHealth()) != 0 {
		t.Errorf("got %v, %v, want one member and good health", status, err)
	}
}

func TestKeysAreListedAndEnded(t *testing.T) {
	h := newHub(t, &coordinator.MemoryStore{})
	j := h.key(&meshdv1.CreateKeyRequest{Reusable: true, ExpiresSeconds: 3600})
	h.join("nas", j)
	list, err := h.admin.ListKeys(t.Context(), &meshdv1.ListKeysRequest{})
	if err != nil || len(list.GetKeys()) != 1 {
		t.Fatalf("got %v, %v", list, err)
	}
	if k := list.GetKeys()[0]; k.GetUsed() != 1 || k.GetExpired() || k.GetExpiresUnix()-k.GetCreatedUnix() != 3600 {
		t.Errorf("got %v", k)
	}
	ended, err := h.admin.ExpireKey(t.Context(), &meshdv1.ExpireKeyRequest{Id: 1})
	if err != nil || !ended.GetKey().GetExpired() {
		t.Errorf("got %v, %v", ended, err)
	}
	failed(t, h.device("late", j).tryJoin(j), connect.CodePermissionDenied, "was revoked")
	_, err = h.admin.ExpireKey(t.Context(), &meshdv1.ExpireKeyRequest{Id: 7})
	failed(t, err, connect.CodeNotFound, "no key number 7")
	members, err := h.admin.ListMembers(t.Context(), &meshdv1.ListMembersRequest{})
	if err != nil || len(members.GetMembers()) != 1 || !members.GetMembers()[0].GetPending() {
		t.Errorf("got %v, %v", members, err)
	}
}

func TestStrangersGetNowhere(t *testing.T) {
	h := newHub(t, &coordinator.MemoryStore{})
	j := h.key(&meshdv1.CreateKeyRequest{})
	stranger := h.device("stranger", j)
	_, err := stranger.client.Control.Leave(t.Context(), &meshdv1.LeaveRequest{})
	failed(t, err, connect.CodeUnauthenticated, "no member")
	if _, err := stranger.client.Exchange(t.Context(), make([]byte, 12)); err == nil || !strings.Contains(err.Error(), "403: this machine is no member") {
		t.Errorf("a stranger's DNS message: %v, want 403", err)
	}
	stranger.watch().ends(connect.CodeUnauthenticated, "no member")

	t.Log("the owner's methods are not on the agents' port")
	admin := meshdv1connect.NewAdminServiceClient(stranger.client.HTTP(), stranger.client.URL(""))
	if _, err := admin.Status(t.Context(), &meshdv1.StatusRequest{}); err == nil {
		t.Error("a stranger read the status")
	}
	t.Log("nor is the relay open")
	resp, err := stranger.client.HTTP().Get(stranger.client.URL("/relay"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 403 {
		t.Errorf("got %s, want 403", resp.Status)
	}
}

func TestGuessingIsSlowed(t *testing.T) {
	h := newHub(t, &coordinator.MemoryStore{})
	j := h.key(&meshdv1.CreateKeyRequest{})
	guess := j
	guess.Secret[0]++
	d := h.device("guesser", j)
	for i := range 100 {
		err := d.tryJoin(guess)
		if connect.CodeOf(err) == connect.CodeResourceExhausted {
			failed(t, err, connect.CodeResourceExhausted, "too many failed joins from 127.0.0.1")
			return
		}
		failed(t, err, connect.CodePermissionDenied, "not known")
		if i == 99 {
			t.Error("a hundred guesses in a row were heard")
		}
	}
}

func TestNoiseOnTheControlPort(t *testing.T) {
	h := newHub(t, &coordinator.MemoryStore{})
	for _, noise := range []string{"", "GET / HTTP/1.1\r\n\r\n", strings.Repeat("\x00\xff", 5000), "\x16\x03\x01\xff\xff\x01"} {
		conn, err := net.Dial("tcp", h.config.Listen.String())
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, noise)
		conn.(*net.TCPConn).CloseWrite()
		conn.SetReadDeadline(time.Now().Add(patience))
		if n, err := io.Copy(io.Discard, conn); errors.Is(err, context.DeadlineExceeded) || n > int64(len(noise))+100 {
			t.Errorf("%d bytes of noise: %d bytes of answer, %v", len(noise), n, err)
		}
		conn.Close()
	}
	h.join("nas", h.key(&meshdv1.CreateKeyRequest{})) // all is well
}

func TestPlainJSON(t *testing.T) {
	h := newHub(t, &coordinator.MemoryStore{})
	j := h.key(&meshdv1.CreateKeyRequest{Reusable: true, Approved: true})
	nas := h.join("nas", j)
	curl := meshdv1connect.NewControlServiceClient(nas.client.HTTP(), nas.client.URL(""), connect.WithProtoJSON())
	received, err := curl.Map(t.Context(), &meshdv1.MapRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer received.Close()
	h.join("laptop", j)
	for _, want := range []string{"", "laptop"} {
		if !received.Receive() {
			t.Fatal(received.Err())
		}
		if got := strings.Join(names(received.Msg()), " "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestStartsThatFail(t *testing.T) {
	h := newHub(t, nil)
	base := h.config
	base.Store, base.StateDir = &coordinator.MemoryStore{}, t.TempDir()
	busy, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(loopback(0)))
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	taken := busy.LocalAddr().(*net.UDPAddr).AddrPort()
	for want, change := range map[string]func(*coordinator.Config){
		"listen on TCP " + h.config.Listen.String() + ": address already in use": func(c *coordinator.Config) {},
		"listen on TCP 192.0.2.1:1: cannot assign requested address":             func(c *coordinator.Config) { c.Listen = netip.MustParseAddrPort("192.0.2.1:1") },
		`public host "a b" is no HOST or HOST:PORT`: func(c *coordinator.Config) {
			c.Listen, c.Public = loopback(0), []string{"a b"}
		},
		"names ports 1 and 2": func(c *coordinator.Config) { c.Listen, c.Public = loopback(0), []string{"a:1", "b:2"} },
		taken.String() + ": bind: address already in use": func(c *coordinator.Config) {
			c.Listen, c.UDP = loopback(0), []netip.AddrPort{loopback(0), taken}
		},
		"longer than 103 bytes": func(c *coordinator.Config) {
			c.Listen, c.StateDir = loopback(0), filepath.Join(c.StateDir, strings.Repeat("x", 100))
		},
	} {
		config := base
		change(&config)
		_, err := coordinator.New(config)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want …%s…", err, want)
		}
	}

	t.Log("another mesh than the one in the folder")
	h.stop()
	db, err := store.Open(t.Context(), coordinator.StorePath(h.config.StateDir))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	other := h.config
	other.Store, other.Prefix4 = db, netip.MustParsePrefix("10.7.0.0/16")
	_, err = coordinator.New(other)
	var e *coordinator.Error
	if !errors.As(err, &e) || !strings.Contains(e.Error(), "10.7.0.0/16") || !strings.Contains(e.Error(), "100.96.0.0/16") || e.Hint() == "" {
		t.Errorf("got %v, want both prefixes and a hint", err)
	}
}
