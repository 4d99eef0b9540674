package agent

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"meshd/agent/localapi"
	"meshd/agent/netcfg"
	"meshd/agent/tunnel"
	"meshd/coordinator/api"
	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/punch"
)

func TestJoin(t *testing.T) {
	hub := newHub(t)
	d := newMachine(t, "nas").start(hub.Join().String())
	s := d.awaitState(localapi.Running)
	if s.Self.Name != "nas" || !slices.Equal(s.Self.Addresses, []netip.Addr{addr("100.96.0.1"), addr("fd00:6d65:7368::1")}) {
		t.Errorf("self: %+v", s.Self)
	}
	if !s.Hub.Connected || s.Hub.Error != "" || len(s.Health) != 0 {
		t.Errorf("hub: %+v, health: %q", s.Hub, s.Health)
	}
	if c, _ := d.host.Configured("meshd0"); len(c.Addresses) != 2 || c.Addresses[0] != prefix("100.96.0.1/32") ||
		!slices.Equal(c.Routes, []netip.Prefix{prefix("100.96.0.0/16"), prefix("fd00:6d65:7368::/48")}) {
		t.Errorf("interface: %+v", c)
	}
	await(t, "the relay's addresses", func() bool {
		var r punch.Relay
		d.puncher().set(func() { r = d.puncher().relay })
		return r.ID == 1 && r.Key[0] == 1 && slices.Equal(r.Addrs, []netip.AddrPort{addrPort("127.0.0.1:3478"), addrPort("127.0.0.2:3479")})
	})
	await(t, "published endpoints", func() bool {
		e := hub.Member("nas").GetEndpoints()
		return len(e) == 1 && e[0].Address == endpoint.Addr.String() && e[0].Kind == "host"
	})
	if got := Key(hub.Member("nas").WireguardKey).String(); got != s.Self.Key {
		t.Errorf("key: got %s, want %s", got, s.Self.Key)
	}

	t.Log("a second join with the same string changes nothing")
	if err := d.Up(t.Context(), localapi.UpRequest{Join: hub.Join().String()}); err != nil {
		t.Error(err)
	}
	if hub.Joins() != 1 {
		t.Errorf("joined %d times", hub.Joins())
	}

	t.Log("the hub has another name now: it is reached by that")
	moved := hub.Join()
	moved.Hosts = []string{"localhost", "127.0.0.1"}
	if err := d.Up(t.Context(), localapi.UpRequest{Join: moved.String()}); err != nil {
		t.Error(err)
	}
	if s := d.awaitState(localapi.Running); !strings.HasPrefix(s.Hub.URL, "https://localhost:") || d.planes() != 1 {
		t.Errorf("hub: %+v, %d planes", s.Hub, d.planes())
	}
	d.awaitConnected(true)

	t.Log("another hub's join string is refused")
	err := d.Up(t.Context(), localapi.UpRequest{Join: newHub(t).Join().String()})
	if err == nil || !strings.Contains(err.Error(), "already") || !strings.Contains(localapi.HintOf(err), "--mesh") {
		t.Errorf("got %v", err)
	}
}

func TestDeltas(t *testing.T) {
	hub := newHub(t)
	join := hub.Join().String()
	a := newMachine(t, "a").start(join)
	a.awaitState(localapi.Running)
	a.awaitPeers()

	t.Log("b joins: a hears of it, and keeps it warm once there is a path")
	b := newMachine(t, "b").start(join)
	b.awaitState(localapi.Running)
	a.awaitPeers("b")
	b.awaitPeers("a")
	if got := a.machine.tunnel().Peers()[0]; got.Keepalive != 0 {
		t.Errorf("got %+v, before there is a path", got)
	}
	a.puncher().show(punch.Status{Peers: map[punch.Key]punch.PeerStatus{a.machine.tunnel().Peers()[0].Key: {Path: punch.ViaRelay}}})
	await(t, "keepalive", func() bool { return a.machine.tunnel().Peers()[0].Keepalive == keepalive })

	t.Log("ping by name and by address")
	for _, name := range []string{"b", "100.96.0.2"} {
		p, err := a.Ping(t.Context(), name)
		if err != nil || p.Peer != "b" || p.Addr != addr("100.96.0.2") || p.Path != "direct" || p.Via != "203.0.113.9:41641" || p.RTT != 12 {
			t.Errorf("ping %s: %+v, %v", name, p, err)
		}
	}
	if _, err := a.Ping(t.Context(), "c"); err == nil || !strings.Contains(err.Error(), `"c"`) {
		t.Errorf("got %v", err)
	}

	t.Log("b ends: it is offline, withdraws its endpoints, and is kept warm no more")
	b.stop()
	await(t, "offline", func() bool { return !a.Status().Peers[0].Online })
	await(t, "withdrawal", func() bool { return len(hub.Member("b").GetEndpoints()) == 0 })
	await(t, "no keepalive", func() bool { return a.machine.tunnel().Peers()[0].Keepalive == 0 })
	a.awaitPeers("b")

	t.Log("b is deleted")
	hub.Delete("b")
	a.awaitPeers()
}

func TestPending(t *testing.T) {
	hub := newHub(t)
	hub.Hold()
	m := newMachine(t, "nas")
	d := m.start(hub.Join().String())
	s := d.awaitState(localapi.Pending)
	if s.Self.Name != "nas" || len(s.Health) != 1 || !strings.Contains(s.Health[0], "member approve nas") {
		t.Errorf("got %+v", s)
	}
	if m.planes() != 0 {
		t.Error("a pending member has an interface")
	}

	t.Log("another string for the same hub is shown to it: it might approve")
	if err := d.Up(t.Context(), localapi.UpRequest{Join: hub.Join().String()}); err != nil || hub.Joins() != 2 {
		t.Errorf("got %v, %d joins", err, hub.Joins())
	}
	d.awaitConnected(true)

	t.Log("it waits across a restart, without the join string")
	d.stop()
	d = m.start("")
	d.awaitState(localapi.Pending)
	d.awaitConnected(true)
	hub.Approve("nas")
	d.awaitState(localapi.Running)

	t.Log("the approval is withdrawn")
	hub.Push(&meshdv1.MapResponse{Self: &meshdv1.Self{Id: 1, Name: "nas", Pending: true}})
	d.awaitState(localapi.Pending)
	if _, up := m.host.Configured("meshd0"); up {
		t.Error("the interface is still configured")
	}
}

func TestHubComesAndGoes(t *testing.T) {
	hub := newHub(t)
	m := newMachine(t, "nas")
	d := m.start(hub.Join().String())
	d.awaitState(localapi.Running)
	await(t, "published endpoints", func() bool { return len(hub.Member("nas").GetEndpoints()) == 1 })

	t.Log("the hub dies: the mesh stays up")
	hub.Stop()
	d.awaitConnected(false)
	await(t, "word of it", func() bool {
		s := d.Status()
		return len(s.Health) == 1 && strings.Contains(s.Health[0], "coordinator away since")
	})
	if s := d.Status(); s.State != localapi.Running || s.Hub.Error == "" {
		t.Errorf("got %+v", s)
	}

	t.Log("the daemon is restarted: the mesh is up at once, from disk")
	d.stop()
	began := time.Now()
	d = m.start("")
	s := d.awaitState(localapi.Running)
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %v", took)
	}
	if s.Self.Addresses[0] != addr("100.96.0.1") || m.planes() != 2 {
		t.Errorf("got %+v, %d planes", s.Self, m.planes())
	}
	var relay punch.Relay
	m.puncher().set(func() { relay = m.puncher().relay })
	if relay.ID != 1 || len(relay.Addrs) != 2 {
		t.Errorf("relay from disk: %+v", relay)
	}

	t.Log("what changes meanwhile is published when the hub is back, which the relay notices first")
	<-m.puncher().ran
	m.puncher().config.Publish(punch.Local{})
	hub.Start()
	m.puncher().show(punch.Status{Hub: punch.HubStatus{Via: punch.ViaRelay}})
	d.awaitConnected(true)
	await(t, "publication", func() bool { return len(hub.Member("nas").GetEndpoints()) == 0 })
	if m.planes() != 2 {
		t.Errorf("the interface was made anew: %d", m.planes())
	}
	if s := d.Status(); len(s.Health) != 0 {
		t.Errorf("health: %q", s.Health)
	}
}

func TestStreamCut(t *testing.T) {
	hub := newHub(t)
	d := newMachine(t, "nas").start(hub.Join().String())
	d.awaitState(localapi.Running)
	since := d.Status().Hub.Since
	hub.Drop()
	await(t, "another stream", func() bool { h := d.Status().Hub; return h.Connected && h.Since.After(since) })
	if d.planes() != 1 {
		t.Errorf("the interface was made anew")
	}
}

// A map that can't be used keeps the old one, and is asked for again.
func TestBadMap(t *testing.T) {
	hub := newHub(t)
	d := newMachine(t, "nas").start(hub.Join().String())
	d.awaitState(localapi.Running)
	since := d.Status().Hub.Since
	hub.Push(&meshdv1.MapResponse{Members: []*meshdv1.Member{{Id: 9, Name: "evil", WireguardKey: keyBytes(9), AllowedIps: []string{"100.96.0.1/32"}}}})
	await(t, "another stream", func() bool { h := d.Status().Hub; return h.Connected && h.Since.After(since) })
	d.awaitPeers()
}

func TestDeletedWhileOnline(t *testing.T) {
	hub := newHub(t)
	m := newMachine(t, "nas")
	d := m.start(hub.Join().String())
	key := d.awaitState(localapi.Running).Self.Key
	hub.Delete("nas")
	s := d.awaitState(localapi.Failed)
	if s.Failure == nil || !strings.Contains(s.Failure.Message, "removed from the mesh") || !strings.Contains(s.Failure.Hint, "up JOIN") {
		t.Errorf("got %+v", s.Failure)
	}
	if _, up := m.host.Configured("meshd0"); up {
		t.Error("the interface is still configured")
	}

	t.Log("it stays out after a restart, and says so")
	d.stop()
	d = m.start("")
	d.awaitState(localapi.Failed)
	if err := d.Up(t.Context(), localapi.UpRequest{}); err == nil || !strings.Contains(err.Error(), "removed") {
		t.Errorf("got %v", err)
	}

	t.Log("it may join again, with the same keys")
	if err := d.Up(t.Context(), localapi.UpRequest{Join: hub.Join().String()}); err != nil {
		t.Fatal(err)
	}
	if s := d.awaitState(localapi.Running); s.Self.Key != key {
		t.Errorf("got key %s, want %s", s.Self.Key, key)
	}
}

func TestRefused(t *testing.T) {
	hub := newHub(t)
	used := hub.Join()
	used.Secret = [16]byte{1}
	other := hub.Join()
	other.Pin = api.Pin{1}
	for _, tt := range []struct {
		name string
		join api.JoinString
		want string
	}{
		{"used secret", used, "unknown, used or expired"},
		{"another hub", other, "proved to be"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newMachine(t, "nas").start("")
			err := d.Up(t.Context(), localapi.UpRequest{Join: tt.join.String()})
			if err == nil || !strings.Contains(err.Error(), tt.want) || localapi.HintOf(err) == "" {
				t.Errorf("got %v (%s)", err, localapi.HintOf(err))
			}
			d.awaitState(localapi.Failed)

			t.Log("a good string mends it")
			if err := d.Up(t.Context(), localapi.UpRequest{Join: hub.Join().String()}); err != nil {
				t.Error(err)
			}
			d.awaitState(localapi.Running)
		})
	}
	t.Run("exit", func(t *testing.T) {
		m := newMachine(t, "nas")
		m.config.ExitOnFailure = true
		d := m.start(used.String())
		<-d.done
		if d.err == nil || !strings.Contains(d.err.Error(), "unknown, used or expired") {
			t.Errorf("got %v", d.err)
		}
	})
	t.Run("cut short", func(t *testing.T) {
		_, err := New(Config{Join: hub.Join().String()[:30]})
		if err == nil || localapi.HintOf(err) == "" {
			t.Errorf("got %v", err)
		}
	})
}

// A hub that is away at the first join is waited for; the command hears of it.
func TestJoinWaitsForHub(t *testing.T) {
	hub := newHub(t)
	hub.Stop()
	d := newMachine(t, "nas").start("")
	if s := d.awaitState(localapi.Stopped); len(s.Health) != 0 {
		t.Errorf("got %+v", s)
	}
	if err := d.Up(t.Context(), localapi.UpRequest{}); err == nil || !strings.Contains(err.Error(), "not joined") {
		t.Errorf("got %v", err)
	}
	if err := d.Up(t.Context(), localapi.UpRequest{Join: hub.Join().String()}); err != nil {
		t.Error(err)
	}
	if s := d.Status(); s.State != localapi.Joining || !strings.Contains(s.Hub.Error, "connection refused") {
		t.Errorf("got %+v", s)
	}
	hub.Start()
	d.awaitState(localapi.Running)
}

func TestOverlap(t *testing.T) {
	hub := newHub(t)
	m := newMachine(t, "nas")
	m.host.AddRoute(prefix("100.96.3.0/24"), "eth0")
	d := m.start(hub.Join().String())
	s := d.awaitState(localapi.Failed)
	if s.Failure == nil || !strings.Contains(s.Failure.Message, "100.96.0.0/16") || !strings.Contains(s.Failure.Message, "100.96.3.0/24 on eth0") {
		t.Errorf("got %+v", s.Failure)
	}
	if !slices.Contains(s.Health, s.Failure.Message) || m.planes() != 0 {
		t.Errorf("health %q, %d planes", s.Health, m.planes())
	}

	t.Log("the mesh moves to where there is room, and back")
	hub.Push(&meshdv1.MapResponse{
		Self: &meshdv1.Self{Id: 1, Name: "nas", Addresses: []string{"100.97.0.1"}, RelayKey: keyBytes(1)},
		Mesh: &meshdv1.Mesh{Name: "apitest", Prefix4: "100.97.0.0/16", Zone: "apitest.internal"},
	})
	d.awaitState(localapi.Running)
	hub.Push(&meshdv1.MapResponse{
		Self: &meshdv1.Self{Id: 1, Name: "nas", Addresses: []string{"100.96.0.1"}, RelayKey: keyBytes(1)},
		Mesh: &meshdv1.Mesh{Name: "apitest", Prefix4: "100.96.0.0/16", Zone: "apitest.internal"},
	})
	d.awaitState(localapi.Failed)
	if _, up := m.host.Configured("meshd0"); up {
		t.Error("the interface is still configured")
	}
}

func TestNoTunnel(t *testing.T) {
	hub := newHub(t)
	m := newMachine(t, "nas")
	none := &tunnel.Error{Message: "open /dev/net/tun: no such file", Hint: "modprobe tun"}
	m.noTunnel = none

	t.Log("who can't be in a mesh does not spend the secret that admits to it")
	d := m.start("")
	err := d.Up(t.Context(), localapi.UpRequest{Join: hub.Join().String()})
	if err == nil || err.Error() != none.Message || localapi.HintOf(err) != none.Hint || hub.Joins() != 0 {
		t.Errorf("got %v (%s), %d joins", err, localapi.HintOf(err), hub.Joins())
	}
	m.setTunnelError(nil)
	if err := d.Up(t.Context(), localapi.UpRequest{Join: hub.Join().String()}); err != nil {
		t.Error(err)
	}
	d.awaitState(localapi.Running)
	d.stop()

	t.Log("a member without one says so, and tries again")
	m.setTunnelError(none)
	d = m.start("")
	if s := d.awaitState(localapi.Failed); s.Failure.Hint != "modprobe tun" {
		t.Errorf("got %+v", s.Failure)
	}
	m.setTunnelError(nil)
	m.fire(netcfg.Event{}) // anything may have changed: it is tried again
	d.awaitState(localapi.Running)
}

func TestInterfaceDeleted(t *testing.T) {
	m := newMachine(t, "nas")
	d := m.start(newHub(t).Join().String())
	d.awaitState(localapi.Running)
	m.tunnel().Die()
	await(t, "another interface", func() bool { return m.planes() == 2 && d.Status().State == localapi.Running })

	t.Log("again so soon: somebody is at it, so there is no hurry")
	m.tunnel().Die()
	if s := d.awaitState(localapi.Failed); !strings.Contains(s.Failure.Message, "meshd0") {
		t.Errorf("got %+v", s.Failure)
	}
	m.fire(netcfg.Event{}) // anything may have changed
	await(t, "a third interface", func() bool { return m.planes() == 3 && d.Status().State == localapi.Running })

	t.Log("the sockets break")
	m.puncher().Close()
	await(t, "word of it", func() bool { return d.Status().State == localapi.Failed })
}

func TestLinkChanged(t *testing.T) {
	m := newMachine(t, "nas")
	d := m.start(newHub(t).Join().String())
	d.awaitState(localapi.Running)
	calls := m.host.Calls()
	m.fire(netcfg.Event{})
	await(t, "word to punch, and a look at the interface", func() bool {
		links := 0
		m.puncher().set(func() { links = m.puncher().links })
		return links == 1 && m.host.Calls() > calls
	})
}

// What the system refuses once is tried again.
func TestConfigureFails(t *testing.T) {
	hub := newHub(t)
	a := newMachine(t, "a").start(hub.Join().String())
	a.awaitState(localapi.Running)
	a.machine.tunnel().Fail(errors.New("busy"))
	b := newMachine(t, "b").start(hub.Join().String())
	b.awaitState(localapi.Running)
	await(t, "word to punch", func() bool { return a.puncher().names() == "b" })
	a.machine.tunnel().Fail(nil)
	a.fire(netcfg.Event{})
	a.awaitPeers("b")
}

func TestPorts(t *testing.T) {
	hub := newHub(t)
	m := newMachine(t, "nas")
	d := m.start(hub.Join().String())
	d.awaitState(localapi.Running)
	port := m.puncher().config.Port
	if port < 20000 || port >= 32000 {
		t.Errorf("got port %d", port)
	}
	d.stop()

	t.Log("the port stays")
	d = m.start("")
	d.awaitState(localapi.Running)
	if got := m.puncher().config.Port; got != port {
		t.Errorf("got port %d, want %d", got, port)
	}
	d.stop()

	t.Log("a taken port gives way to another, which stays")
	m.taken[port] = true
	d = m.start("")
	d.awaitState(localapi.Running)
	if got := m.puncher().config.Port; got == port || got == 0 {
		t.Errorf("got port %d", got)
	}
	d.stop()

	t.Log("a port that was asked for does not")
	m.config.Port = port
	d = m.start("")
	if s := d.awaitState(localapi.Failed); !strings.Contains(s.Failure.Hint, "--port") {
		t.Errorf("got %+v", s.Failure)
	}
	d.stop()

	t.Log("but it lasts")
	m.config.Port = 41641
	d = m.start("")
	d.awaitState(localapi.Running)
	d.stop()
	m.config.Port = 0
	m.start("").awaitState(localapi.Running)
	if got := m.puncher().config.Port; got != 41641 {
		t.Errorf("got port %d, want the one that was asked for last time", got)
	}
}

func TestDown(t *testing.T) {
	m := newMachine(t, "nas")
	d := m.start(newHub(t).Join().String())
	d.awaitState(localapi.Running)
	c := localapi.NewClient(m.config.Socket)
	if err := c.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-d.done
	if d.err != nil {
		t.Errorf("Run: %v", d.err)
	}
	if _, err := os.Stat(m.config.Socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if _, up := m.host.Configured("meshd0"); up {
		t.Error("the interface is still configured")
	}
	if err := d.Up(t.Context(), localapi.UpRequest{}); err == nil {
		t.Error("a daemon that ended took a wish")
	}
}

func TestSecondDaemon(t *testing.T) {
	m := newMachine(t, "nas")
	d := m.start(newHub(t).Join().String())
	d.awaitState(localapi.Running)

	t.Log("on the same folder")
	second := m.start("")
	<-second.done
	if second.err == nil || !strings.Contains(second.err.Error(), "another meshd daemon (pid ") {
		t.Errorf("got %v", second.err)
	}

	t.Log("on the same socket")
	other := newMachine(t, "nas")
	other.config.Socket = m.config.Socket
	third := other.start("")
	<-third.done
	if third.err == nil || !strings.Contains(third.err.Error(), m.config.Socket) {
		t.Errorf("got %v", third.err)
	}
	if s := d.Status(); s.State != localapi.Running {
		t.Errorf("the first one is %s", s.State)
	}
}

func TestAfterACrash(t *testing.T) {
	m := newMachine(t, "nas")
	ln, err := net.Listen("unix", m.config.Socket)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	m.start(newHub(t).Join().String()).awaitState(localapi.Running)
}

func TestClockOffsetIsKept(t *testing.T) {
	m := newMachine(t, "nas")
	d := m.start(newHub(t).Join().String())
	d.awaitState(localapi.Running)
	m.puncher().set(func() { m.puncher().offset = 25 * time.Hour })
	m.puncher().show(punch.Status{})
	await(t, "the offset on disk", func() bool {
		s, err := folder{m.config.StateDir}.load()
		return err == nil && s.ClockOffset == 25*time.Hour
	})
	d.stop()
	m.start("").awaitState(localapi.Running)
	if got := m.puncher().config.ClockOffset; got != 25*time.Hour {
		t.Errorf("got %v", got)
	}
}

// A member whose key file was lost makes another key and tells the hub.
func TestLostKey(t *testing.T) {
	hub := newHub(t)
	m := newMachine(t, "nas")
	d := m.start(hub.Join().String())
	before := d.awaitState(localapi.Running).Self.Key
	d.stop()
	if err := os.Remove(folder{m.config.StateDir}.file(wireguardFile)); err != nil {
		t.Fatal(err)
	}
	d = m.start("")
	after := d.awaitState(localapi.Running).Self.Key
	await(t, "the new key at the hub", func() bool { return Key(hub.Member("nas").WireguardKey).String() == after })
	if after == before {
		t.Error("the key is the same")
	}
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    Config
		want string
	}{
		{"mesh", Config{Mesh: "../etc"}, `"../etc"`},
		{"upper case", Config{Mesh: "Home"}, `"Home"`},
		{"dns", Config{DNS: "perhaps"}, `"perhaps"`},
		{"backend", Config{Backend: "karnel"}, `"karnel"`},
		{"port mapping", Config{PortMapping: "maybe"}, `"maybe"`},
		{"relay", Config{Relay: "maybe"}, `"maybe"`},
		{"use of relays", Config{UseRelays: "auto"}, `"auto"`},
		{"advertise", Config{Advertise: make([]netip.AddrPort, 9)}, "9 endpoints"},
		{"join", Config{Join: "meshd2:x"}, "meshd"},
	} {
		if _, err := New(tt.c); err == nil || !strings.Contains(err.Error(), tt.want) || localapi.HintOf(err) == "" {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}

func TestNames(t *testing.T) {
	for mesh, want := range map[string]string{"meshd": "meshd0", "home": "meshd-home", "a-long-name-of-a-mesh": "meshd-a-long-na"} {
		if got := Interface(mesh); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Who starts without the hub presumes that everybody is there; the hub's word
// ends that.
func TestBlindStart(t *testing.T) {
	hub := newHub(t)
	a, b := newMachine(t, "a"), newMachine(t, "b")
	da, db := a.start(hub.Join().String()), b.start(hub.Join().String())
	da.awaitState(localapi.Running)
	db.awaitState(localapi.Running)
	da.awaitPeers("b")
	db.stop()
	await(t, "b offline", func() bool { return !da.Status().Peers[0].Online })
	da.stop()

	online := func() (online bool) {
		a.puncher().set(func() { online = a.puncher().peers[0].Online })
		return online
	}
	hub.Stop()
	da = a.start("")
	da.awaitState(localapi.Running)
	if !online() || da.Status().Peers[0].Online {
		t.Errorf("punch believes %v, status says %v", online(), da.Status().Peers[0].Online)
	}
	hub.Start()
	await(t, "the hub's word", func() bool { return !online() })
}
