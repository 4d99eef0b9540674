package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"meshd/agent"
	"meshd/agent/localapi"
	"meshd/coordinator"
	"meshd/coordinator/api"
	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/coordinator/api/meshd/v1/meshdv1connect"
)

func TestMain(m *testing.M) {
	if os.Getenv(actAsDaemon) != "" {
		beDaemon()
	}
	time.Local = time.UTC
	goleak.VerifyTestMain(m)
}

// noon is when all of these tests take place.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// bench is an app, what it said, and the daemons it speaks with.
type bench struct {
	*app
	stdout, stderr bytes.Buffer
	env            map[string]string
	dir            string // holds meshd.sock and coordinator.sock
	daemon         *fakeDaemon

	started  []daemon             // what startDaemon was asked for
	agents   []agent.Config       // what runAgent was
	coordCfg []coordinator.Config // what coordinate was
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("", "meshd-cli-") // short enough for a socket, unlike t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &bench{env: map[string]string{}, dir: dir, daemon: &fakeDaemon{status: running()}}
	b.app = &app{
		stdout: &b.stdout, stderr: &b.stderr, version: "v1.0.0",
		getenv:    func(name string) string { return b.env[name] },
		now:       func() time.Time { return noon },
		pingEvery: time.Millisecond, pollEvery: time.Millisecond,
		startDaemon: func(_ context.Context, d daemon) error { b.started = append(b.started, d); return nil },
		runAgent:    func(_ context.Context, c agent.Config) error { b.agents = append(b.agents, c); return nil },
		coordinate: func(_ context.Context, c coordinator.Config, serving func()) error {
			b.coordCfg = append(b.coordCfg, c)
			serving()
			return nil
		},
	}
	b.env["MESHD_SOCKET"] = filepath.Join(dir, "meshd.sock")
	b.env["MESHD_STATE"] = dir
	return b
}

// serveDaemon makes the fake daemon answer.
func (b *bench) serveDaemon(t *testing.T) {
	t.Helper()
	ln, err := localapi.Listen(b.env["MESHD_SOCKET"])
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	b.daemon.end = cancel
	server := &localapi.Server{Backend: b.daemon, Version: "v0.9.0", Log: slog.New(slog.DiscardHandler)}
	go func() { ended <- server.Run(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// serveHub makes a fake coordinator answer.
func (b *bench) serveHub(t *testing.T, h meshdv1connect.AdminServiceHandler) {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(b.dir, "coordinator.sock"))
	if err != nil {
		t.Fatal(err)
	}
	_, handler := meshdv1connect.NewAdminServiceHandler(h)
	server := &http.Server{Handler: handler}
	ended := make(chan error)
	go func() { ended <- server.Serve(ln) }()
	t.Cleanup(func() { server.Close(); <-ended })
}

// do runs a command line and checks all that it says.
func (b *bench) do(t *testing.T, line string, code int, stdout, stderr string) {
	t.Helper()
	b.stdout.Reset()
	b.stderr.Reset()
	got := b.run(t.Context(), strings.Fields(line))
	if got != code {
		t.Errorf("meshd %s: exit code %d, want %d", line, got, code)
	}
	if diff := cmp.Diff(unindent(b.stdout.String()), unindent(stdout)); diff != "" {
		t.Errorf("meshd %s: stdout (-got +want)\n%s", line, diff)
	}
	said := strings.ReplaceAll(b.stderr.String(), b.dir, "DIR")
	if diff := cmp.Diff(unindent(said), unindent(stderr)); diff != "" {
		t.Errorf("meshd %s: stderr (-got +want)\n%s", line, diff)
	}
}

// unindent takes what makes expected output readable within a test.
func unindent(s string) string {
	lines := strings.Split(strings.Trim(s, "\n\t"), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimLeft(l, "\t")
	}
	return strings.Join(lines, "\n")
}

// fakeDaemon is a daemon that answers what it is told to.
type fakeDaemon struct {
	end func() // ends its server

	mu     sync.Mutex // guards following
	status localapi.Status
	next   []localapi.Status // further answers to Status, one each
	ups    []localapi.UpRequest
	upErr  error
	pings  []localapi.PingReply // answers, one each; then errors
	why    localapi.Why
	check  localapi.Netcheck
	downs  int
	localapi.Services
	localapi.Tuning
}

func (d *fakeDaemon) Status() localapi.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.status
	if len(d.next) > 0 {
		d.status, d.next = d.next[0], d.next[1:]
	}
	return s
}

func (d *fakeDaemon) Up(_ context.Context, r localapi.UpRequest) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ups = append(d.ups, r)
	return d.upErr
}

func (d *fakeDaemon) Down(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.downs++
	d.end()
	return nil
}

func (d *fakeDaemon) Ping(_ context.Context, peer string) (localapi.PingReply, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if peer != "nas" {
		return localapi.PingReply{}, localapi.WithHint(errors.New(`there is no peer "`+peer+`"`), "`meshd peers` lists them")
	}
	if len(d.pings) == 0 {
		return localapi.PingReply{}, errors.New("no answer from nas within 5s")
	}
	p := d.pings[0]
	d.pings = d.pings[1:]
	return p, nil
}

func (d *fakeDaemon) Why(_ context.Context, peer string) (localapi.Why, error) {
	if peer != d.why.Peer {
		return localapi.Why{}, localapi.WithHint(errors.New(`there is no peer "`+peer+`"`), "`meshd peers` lists them")
	}
	return d.why, nil
}

func (d *fakeDaemon) DNSKey(context.Context) (localapi.DNSKey, error) {
	return localapi.DNSKey{Name: "laptop.home.internal.", Algorithm: "hmac-sha256", Secret: make([]byte, 32)}, nil
}

func (d *fakeDaemon) Netcheck(_ context.Context, lifetime bool) (localapi.Netcheck, error) {
	n := d.check
	if !lifetime {
		n.IPv4.LifetimeLeast, n.IPv4.LifetimeEnds = 0, 0
	}
	return n, nil
}

// running is a mesh of three.
func running() localapi.Status {
	return localapi.Status{
		Version: "v0.9.0", Mesh: "meshd", Backend: "userspace", State: localapi.Running,
		Self: localapi.Self{Name: "laptop", Key: "bGFwdG9w", Addresses: addrs("100.96.0.7", "fd12::7"), Interface: "meshd0",
			Endpoints: []localapi.Endpoint{{Addr: netip.MustParseAddrPort("192.168.1.5:41641"), Kind: "host"}}, NAT: "endpoint-independent mapping"},
		Hub: localapi.Hub{URL: "https://hub.example:443", Connected: true, Since: noon.Add(-3 * time.Minute), RTT: 12.3, UDP: true},
		Peers: []localapi.Peer{
			{Name: "nas", Addresses: addrs("100.96.0.2", "fd12::2"), Online: true, Path: "direct", Endpoint: "203.0.113.9:41641", Reason: "pong",
				Since: noon.Add(-90 * time.Minute), RTT: 4.56, MTU: 1400, LastHandshake: noon.Add(-45 * time.Second), RxBytes: 1 << 20, TxBytes: 2345},
			{Name: "old", Addresses: addrs("100.96.0.3", "fd12::3"), Path: "none", Reason: "offline"},
		},
		Health: []string{},
	}
}

func addrs(list ...string) []netip.Addr {
	var addrs []netip.Addr
	for _, s := range list {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	return addrs
}

// fakeHub is a coordinator of two members and one key.
type fakeHub struct {
	meshdv1connect.UnimplementedAdminServiceHandler
	created []*meshdv1.CreateKeyRequest
	empty   bool
	plain   bool // a router with WireGuard alone is a member, too
}

var fakeKey = &meshdv1.Key{Id: 3, CreatedUnix: noon.Unix(), ExpiresUnix: noon.Add(24 * time.Hour).Unix()}

func (h *fakeHub) CreateKey(_ context.Context, r *meshdv1.CreateKeyRequest) (*meshdv1.CreateKeyResponse, error) {
	h.created = append(h.created, r)
	return &meshdv1.CreateKeyResponse{Key: fakeKey, Join: "meshd1:hub.example/secret"}, nil
}

func (h *fakeHub) ListKeys(context.Context, *meshdv1.ListKeysRequest) (*meshdv1.ListKeysResponse, error) {
	spent := &meshdv1.Key{Id: 4, Reusable: true, Approved: true, Ephemeral: true, Tags: []string{"ci", "eu"}, Used: 12, Expired: true, CreatedUnix: noon.Unix()}
	return &meshdv1.ListKeysResponse{Keys: []*meshdv1.Key{fakeKey, spent}}, nil
}

func (h *fakeHub) ExpireKey(_ context.Context, r *meshdv1.ExpireKeyRequest) (*meshdv1.ExpireKeyResponse, error) {
	if r.Id != 3 {
		return nil, api.NewError(connect.CodeNotFound, "there is no key 9", "meshd coordinator key list")
	}
	return &meshdv1.ExpireKeyResponse{Key: fakeKey}, nil
}

func nas() *meshdv1.MemberInfo {
	return &meshdv1.MemberInfo{Version: "v1.0.0", Relay: "udp", Observed: "203.0.113.9:41641", CreatedUnix: noon.Unix(),
		Member: &meshdv1.Member{Id: 2, Name: "nas", Addresses: []string{"100.96.0.2", "fd12::2"}, Online: true, Tags: []string{"server"}}}
}

func (h *fakeHub) ListMembers(context.Context, *meshdv1.ListMembersRequest) (*meshdv1.ListMembersResponse, error) {
	waiting := &meshdv1.MemberInfo{Pending: true, CreatedUnix: noon.Unix(),
		Member: &meshdv1.Member{Id: 5, Name: "phone", LastSeenUnix: noon.Add(-time.Hour).Unix()}}
	return &meshdv1.ListMembersResponse{Members: h.members(nas(), waiting)}, nil
}

func (h *fakeHub) ApproveMember(_ context.Context, r *meshdv1.ApproveMemberRequest) (*meshdv1.ApproveMemberResponse, error) {
	if r.Member != "nas" {
		return nil, api.NewError(connect.CodeNotFound, "there is no member "+r.Member, "meshd coordinator member list")
	}
	return &meshdv1.ApproveMemberResponse{Member: nas()}, nil
}

func (h *fakeHub) RenameMember(_ context.Context, r *meshdv1.RenameMemberRequest) (*meshdv1.RenameMemberResponse, error) {
	info := nas()
	info.Member.Name = r.Name
	return &meshdv1.RenameMemberResponse{Member: info}, nil
}

func (h *fakeHub) Status(context.Context, *meshdv1.StatusRequest) (*meshdv1.StatusResponse, error) {
	s := &meshdv1.StatusResponse{
		Version: "v1.0.0", Mesh: "home", Pin: "aaaa-bbbb", Hosts: []string{"hub.example"}, Listen: "[::]:443", Udp: []string{"[::]:3478", "[::]:3479"},
		Prefix4: "100.96.0.0/16", Prefix6: "fd12::/48", StartedUnix: noon.Add(-72 * time.Hour).Unix(),
		Members: 2, Online: 1, Pending: 1, RelaySessions: 1, RelayPackets: 99, RelayBytes: 5 << 30,
		RelayOffload: "on", OffloadFlows: 2, OffloadPackets: 90, OffloadBytes: 4 << 30, Health: []string{"the disk is full"},
	}
	if h.empty {
		s.Members, s.Pending = 0, 0
	}
	return s, nil
}
