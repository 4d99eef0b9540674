package agent

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"meshd/agent/localapi"
	"meshd/agent/netcfg"
	"meshd/agent/tunnel"
	"meshd/agent/tunnel/tunneltest"
	"meshd/coordinator/api/apitest"
	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/punch"
	"meshd/punch/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakePuncher is a punch.Engine that finds no path and says what it is told to.
type fakePuncher struct {
	config  punch.Config
	ran     chan struct{} // closed when Run has published
	closed  chan struct{}
	close   func()
	changed chan struct{}

	mu     sync.Mutex // guards following
	peers  []punch.Peer
	wanted []punch.Key
	relay  punch.Relay
	mapped []netip.AddrPort
	links  int
	status punch.Status
	offset time.Duration
}

func newFakePuncher(c punch.Config) *fakePuncher {
	p := &fakePuncher{config: c, ran: make(chan struct{}), closed: make(chan struct{}), changed: make(chan struct{}, 1)}
	p.close = sync.OnceFunc(func() { close(p.closed) })
	return p
}

// endpoint is what every fake publishes at once.
var endpoint = wire.Candidate{Kind: wire.Host, Addr: netip.MustParseAddrPort("192.0.2.7:41641")}

func (p *fakePuncher) Run(ctx context.Context) error {
	p.config.Publish(punch.Local{Candidates: []wire.Candidate{endpoint}})
	close(p.ran)
	select {
	case <-ctx.Done():
	case <-p.closed:
	}
	return nil
}

func (p *fakePuncher) Receivers() []func([][]byte, []int, []punch.Key) (int, error) {
	return []func([][]byte, []int, []punch.Key) (int, error){func([][]byte, []int, []punch.Key) (int, error) {
		<-p.closed
		return 0, net.ErrClosed
	}}
}

func (p *fakePuncher) Send(punch.Key, [][]byte) error { return nil }
func (p *fakePuncher) BatchSize() int                 { return 1 }
func (p *fakePuncher) Close() error                   { p.close(); return nil }
func (p *fakePuncher) Changed() <-chan struct{}       { return p.changed }
func (p *fakePuncher) SetPeers(peers []punch.Peer)    { p.set(func() { p.peers = peers }) }
func (p *fakePuncher) Want(k punch.Key)               { p.set(func() { p.wanted = append(p.wanted, k) }) }
func (p *fakePuncher) SetRelay(r punch.Relay)         { p.set(func() { p.relay = r }) }
func (p *fakePuncher) SetMapped(a []netip.AddrPort)   { p.set(func() { p.mapped = a }) }
func (p *fakePuncher) SetBirthdayRate(n int)          { p.set(func() { p.config.BirthdayRate = n }) }
func (p *fakePuncher) LinkChanged()                   { p.set(func() { p.links++ }) }
func (p *fakePuncher) Status() (s punch.Status)       { p.set(func() { s = p.status }); return s }

// told is what it was made with, or was told later.
func (p *fakePuncher) told() (o punch.Offer, hubOnly bool, rate int) {
	p.set(func() { o, hubOnly, rate = p.config.Offer, p.config.HubOnly, p.config.BirthdayRate })
	return o, hubOnly, rate
}

func (p *fakePuncher) SetRelaying(r punch.Relaying) {
	p.set(func() { p.config.Offer, p.config.HubOnly = r.Offer, r.HubOnly })
}

func (p *fakePuncher) ClockOffset() (d time.Duration) { p.set(func() { d = p.offset }); return d }

func (p *fakePuncher) Ping(context.Context, punch.Key) (punch.Pong, error) {
	return punch.Pong{RTT: 12 * time.Millisecond, Via: punch.ViaDirect, Addr: netip.MustParseAddrPort("203.0.113.9:41641")}, nil
}

func (p *fakePuncher) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// show makes the status s, and says that it changed.
func (p *fakePuncher) show(s punch.Status) {
	p.set(func() { p.status = s })
	signal(p.changed)
}

// names are the peers that punch was told of, in order.
func (p *fakePuncher) names() string {
	var names []string
	p.set(func() {
		for _, peer := range p.peers {
			names = append(names, peer.Name)
		}
	})
	slices.Sort(names)
	return strings.Join(names, " ")
}

// machine is a host with a state folder, on which daemons come and go.
type machine struct {
	t      *testing.T
	dir    string
	config Config
	host   *netcfg.Fake

	resolver *netcfg.FakeResolver

	mu       sync.Mutex // guards following
	tunnels  []*tunneltest.Fake
	punchers []*fakePuncher
	mappers  []*fakeMapper
	taken    map[uint16]bool               // UDP ports that others have
	dns      map[netip.Addr]netip.AddrPort // where names are answered on loopback, by overlay address; zero: taken
	noTunnel error
}

func newMachine(t *testing.T, name string) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // t.TempDir's path may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &machine{t: t, dir: dir, host: &netcfg.Fake{}, resolver: &netcfg.FakeResolver{}, taken: make(map[uint16]bool), dns: make(map[netip.Addr]netip.AddrPort)}
	m.config = Config{
		StateDir: filepath.Join(dir, "state"), Socket: filepath.Join(dir, "sock"), Hostname: name, Version: "test",
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})), Host: m.host, Resolver: m.resolver,
		NewTunnel: m.newTunnel, NewPuncher: m.newPuncher, NewMapper: m.newMapper, ListenDNS: m.listenDNS,
	}
	return m
}

func (m *machine) newTunnel(c tunnel.Config) (tunnel.Tunnel, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.noTunnel != nil {
		return nil, m.noTunnel
	}
	m.tunnels = append(m.tunnels, tunneltest.New(c))
	return m.tunnels[len(m.tunnels)-1], nil
}

func (m *machine) setTunnelError(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.noTunnel = err
}

func (m *machine) newPuncher(c punch.Config) (Puncher, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.taken[c.Port] {
		return nil, syscall.EADDRINUSE
	}
	m.punchers = append(m.punchers, newFakePuncher(c))
	return m.punchers[len(m.punchers)-1], nil
}

// tunnel and puncher return the last one made.
func (m *machine) tunnel() *tunneltest.Fake {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tunnels[len(m.tunnels)-1]
}

func (m *machine) puncher() *fakePuncher {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.punchers[len(m.punchers)-1]
}

// planes is how often a mesh came up. A tunnel that was made only to see
// whether it can be was never told of peers.
func (m *machine) planes() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.tunnels {
		if len(t.Sets()) > 0 {
			n++
		}
	}
	return n
}

// daemon is an agent that runs.
type daemon struct {
	*Agent
	*machine
	cancel context.CancelFunc
	done   chan struct{}
	err    error // of Run, after done
}

// start runs a daemon with this join string until the test ends, at the latest.
func (m *machine) start(join string) *daemon {
	m.t.Helper()
	c := m.config
	c.Join = join
	a, err := New(c)
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := &daemon{Agent: a, machine: m, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(d.done)
		d.err = a.Run(ctx)
	}()
	m.t.Cleanup(func() { cancel(); <-d.done })
	return d
}

// stop ends the daemon as SIGTERM does.
func (d *daemon) stop() {
	d.t.Helper()
	d.cancel()
	<-d.done
	if d.err != nil {
		d.t.Errorf("Run: %v", d.err)
	}
}

// fire has something happen to the host's network, as soon as the agent looks.
func (m *machine) fire(e netcfg.Event) {
	m.t.Helper()
	await(m.t, "somebody who watches the network", func() bool { return m.host.Fire(e) > 0 })
}

// await waits until ok, and fails the test after 5 s.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func (d *daemon) awaitState(want localapi.State) localapi.Status {
	d.t.Helper()
	await(d.t, "state "+string(want), func() bool { return d.Status().State == want })
	return d.Status()
}

func (d *daemon) awaitConnected(want bool) {
	d.t.Helper()
	await(d.t, "connection", func() bool { return d.Status().Hub.Connected == want })
}

// awaitPeers waits until punch and tunnel have been told of exactly these.
func (d *daemon) awaitPeers(want ...string) {
	d.t.Helper()
	all := strings.Join(want, " ")
	await(d.t, "peers "+all, func() bool { return d.puncher().names() == all && len(d.machine.tunnel().Peers()) == len(want) })
}

// newHub is a coordinator with a relay on loopback.
func newHub(t *testing.T) *apitest.Hub {
	return apitest.New(t, &meshdv1.Relay{Udp: []string{":3478", "127.0.0.2:3479"}, Websocket: "/relay"})
}
