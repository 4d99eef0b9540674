package punch

import (
	"net/netip"
	"testing"
	"time"

	"meshd/punch/nattest"
	"meshd/punch/wire"
)

// far is a hub's line by which everyone is 82 ms from everyone; near is one by
// which that is 42 ms.
var (
	far  = nattest.Link{Delay: 10 * time.Millisecond}
	near = nattest.Link{Delay: time.Millisecond}
)

// trio are two that can't be direct, and nas, which both reach.
func (w *world) trio(nasLine nattest.Link, change func(*Config)) (a, b, nas *agent) {
	w.t.Helper()
	warm := func(c *Config) {
		c.PrePunch = 0
		if change != nil {
			change(c)
		}
	}
	host, _ := w.net.Place(nasLine)
	nas = w.start("nas", host, warm)
	host, _ = w.net.Place(access, nattest.Symmetric)
	a = w.start("alice", host, warm)
	host, _ = w.net.Place(access, nattest.Symmetric)
	b = w.start("bob", host, warm)
	w.settle()
	w.awaitDirect(a, nas, 10*time.Second)
	w.awaitDirect(b, nas, 10*time.Second)
	time.Sleep(10 * time.Second) // the pair has tried, in vain
	b.echo = true
	return a, b, nas
}

// byRelay waits until data from a to b goes by a relay: "" is the hub.
func (w *world) byRelay(a, b *agent, name string, limit time.Duration) {
	w.t.Helper()
	w.await(a.name+" to "+b.name+" by relay "+name, limit, func() bool {
		p := a.path(b)
		return p.Path == ViaRelay && p.Relay == name
	})
}

// flow streams in the background until the story's end.
func (w *world) flow(a, b *agent, every time.Duration) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := uint64(0); ; n++ {
			select {
			case <-quit:
				return
			case <-time.After(every):
				a.send(b, n)
			}
		}
	}()
	return func() { close(quit); <-done }
}

func TestNearerPeerRelays(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.hub.host.SetLink(far)
		a, b, nas := w.trio(near, nil)
		t.Log("the first packets go by the hub, then nas proves to be nearer by half")
		stop := w.flow(a, b, 20*time.Millisecond)
		defer stop()
		w.byRelay(a, b, "nas", 15*time.Second)
		w.byRelay(b, a, "nas", 15*time.Second)
		time.Sleep(time.Second)
		before, since := w.hub.count(), time.Now()
		a.forget()
		time.Sleep(5 * time.Minute)
		if got := w.hub.count() - before; got > 0 {
			t.Errorf("%d packets went by the hub since, want none: nothing flaps", got)
		}
		if got := a.silence(since, time.Now()); got > 200*time.Millisecond {
			t.Errorf("silent for %v, want no pause", got)
		}
		pong, err := a.Ping(t.Context(), b.key)
		if err != nil || pong.Relay != "nas" || pong.RTT > 45*time.Millisecond {
			t.Errorf("ping = %+v, %v; want 43 ms by nas", pong, err)
		}
		if p := a.path(b); p.RTT > 45*time.Millisecond || p.RTT == 0 {
			t.Errorf("RTT %v, want 43 ms", p.RTT)
		}
		stats := nas.Status().Relay
		if stats.Packets < 25000 || stats.Dropped > 0 {
			t.Errorf("nas counts %+v, want 30000 packets and more", stats)
		}
		if got := len(nas.arrivals()); got != 0 {
			t.Errorf("nas's tunnel got %d packets of the others, want none", got)
		}
	})
}

func TestNearPeerIsNotNearEnough(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.hub.host.SetLink(nattest.Link{Delay: 2 * time.Millisecond})
		t.Log("by the hub it takes 48 ms, by nas 44: that is not worth a change")
		a, b, nas := w.trio(near, nil)
		stop := w.flow(a, b, 20*time.Millisecond)
		defer stop()
		time.Sleep(5 * time.Minute)
		if got := nas.Status().Relay.Packets; got > 1000 {
			t.Errorf("nas relayed %d packets, want probes only", got)
		}
		if p := a.path(b); p.Path != ViaRelay || p.Relay != "" {
			t.Errorf("path = %+v, want by the hub", p)
		}
	})
}

// TestHubDiesUnderRelayedPair is why members relay: the pair talks on.
func TestHubDiesUnderRelayedPair(t *testing.T) {
	for name, line := range map[string]nattest.Link{"nas is nearer": near, "nas is farther": {Delay: 40 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T, w *world) {
				a, b, _ := w.trio(line, nil)
				stop := w.flow(a, b, 20*time.Millisecond)
				defer stop()
				time.Sleep(20 * time.Second)
				t.Log("the hub dies")
				w.hub.stop()
				w.deafen()
				from := time.Now()
				time.Sleep(2 * time.Minute)
				if got := a.silence(from, time.Now()); got > 900*time.Millisecond {
					t.Errorf("silent for %v, want below 0.9s", got)
				} else {
					t.Logf("silent for %v", got)
				}
				if p := a.path(b); p.Path != ViaRelay || p.Relay != "nas" {
					t.Errorf("path = %+v, want by nas", p)
				}
				t.Log("it comes back, and nothing is lost over it")
				w.hub.begin()
				from = time.Now()
				time.Sleep(2 * time.Minute)
				if got := a.silence(from, time.Now()); got > 300*time.Millisecond {
					t.Errorf("silent for %v, want no pause", got)
				}
			})
		})
	}
}

func TestFirstWordsWithoutHub(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b, _ := w.trio(near, nil)
		w.hub.stop()
		w.deafen()
		t.Log("nobody has noticed yet that the hub is dead")
		start := time.Now()
		a.send(b, 1)
		w.await("answer", 500*time.Millisecond, func() bool { return len(a.arrivals()) > 0 })
		t.Logf("answer after %v", time.Since(start))
		t.Log("and when everybody has")
		time.Sleep(5 * time.Minute)
		if got := a.Status().Hub.Via; got != ViaNone {
			t.Fatalf("hub via %v, want none", got)
		}
		a.forget()
		start = time.Now()
		a.send(b, 2)
		w.await("answer", 100*time.Millisecond, func() bool { return len(a.arrivals()) > 0 })
		t.Logf("answer after %v", time.Since(start))
		t.Log("also after a restart")
		a.restart()
		w.awaitDirect(a, b.peer(w, "nas"), 10*time.Second)
		w.byRelay(a, b, "nas", time.Second)
		a.forget()
		a.send(b, 3)
		w.await("answer", time.Second, func() bool { return len(a.arrivals()) > 0 })
	})
}

// peer is the agent of this name.
func (a *agent) peer(w *world, name string) *agent {
	for _, b := range w.agents {
		if b.name == name {
			return b
		}
	}
	w.t.Fatalf("no agent %q", name)
	return nil
}

func TestRelayingPeerDies(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.hub.host.SetLink(far)
		a, b, nas := w.trio(near, nil)
		stop := w.flow(a, b, 20*time.Millisecond)
		defer stop()
		w.byRelay(a, b, "nas", 15*time.Second)
		w.byRelay(b, a, "nas", 15*time.Second)
		time.Sleep(20 * time.Second)
		t.Log("nas dies, without a word")
		nas.stop()
		from := time.Now()
		time.Sleep(time.Minute)
		if got := a.silence(from, time.Now()); got > 900*time.Millisecond {
			t.Errorf("silent for %v, want below 0.9s", got)
		} else {
			t.Logf("silent for %v", got)
		}
		if p := a.path(b); p.Path != ViaRelay || p.Relay != "" {
			t.Errorf("path = %+v, want by the hub", p)
		}
		t.Log("and is back")
		nas.begin()
		w.tell(0)
		w.byRelay(a, b, "nas", time.Minute)
	})
}

// TestTrust has the three of them refuse, one after the other.
func TestTrust(t *testing.T) {
	for _, tt := range []struct {
		name, who string
		relaying  Relaying
	}{
		{"nas does not offer", "nas", Relaying{Offer: OfferOff}},
		{"alice does not use peers", "alice", Relaying{HubOnly: true}},
		{"bob does not use peers", "bob", Relaying{HubOnly: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			story(t, func(t *testing.T, w *world) {
				w.hub.host.SetLink(far)
				a, b, nas := w.trio(near, nil)
				a.peer(w, tt.who).SetRelaying(tt.relaying)
				time.Sleep(time.Second)
				stop := w.flow(a, b, 20*time.Millisecond)
				defer stop()
				time.Sleep(time.Minute)
				if got := nas.Status().Relay.Packets; got > 200 {
					t.Errorf("nas relayed %d packets, want probes at most", got)
				}
				if p := a.path(b); p.Path != ViaRelay || p.Relay != "" {
					t.Errorf("path = %+v, want by the hub", p)
				}
				if got := a.silence(time.Now().Add(-30*time.Second), time.Now()); got > 200*time.Millisecond {
					t.Errorf("silent for %v, want no pause", got)
				}
				t.Log("it changes its mind")
				a.peer(w, tt.who).SetRelaying(Relaying{})
				w.byRelay(a, b, "nas", time.Minute)
			})
		})
	}
}

// TestNobodyElseIsRelayed has strangers, and members under false addresses, ask.
func TestNobodyElseIsRelayed(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b, nas := w.trio(near, nil)
		before := nas.Status().Relay
		b.forget()
		mallory, _ := w.net.Place(access)
		s, err := mallory.Listen(netip.AddrPortFrom(mallory.Addr(), 9))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		to := netip.AddrPortFrom(nas.host.Addr(), nas.conf.Port)
		forward := func(id wire.RelayID) []byte {
			return append(wire.AppendHeader(nil, wire.Header{Type: wire.Forward, ID: wire.PairID(a.id, id)}), packet(1, false)...)
		}
		for range 10 {
			s.Write([][]byte{forward(b.id)}, to)
		}
		t.Log("a member that asks for itself, for nobody, for the relay, or with noise")
		own := a.Engine.mux.sockets[socket4]
		for _, d := range [][]byte{forward(a.id), forward(99), forward(nas.id), append(forward(b.id)[:wire.HeaderSize], "noise"...)} {
			own.Write([][]byte{d}, to)
		}
		time.Sleep(time.Second)
		after := nas.Status().Relay
		if after.Packets != before.Packets || after.Dropped-before.Dropped != 14 {
			t.Errorf("relayed %+v after %+v, want 14 dropped", after, before)
		}
		t.Log("the same from the member itself is passed on")
		own.Write([][]byte{forward(b.id)}, to)
		w.await("packet", time.Second, func() bool { return len(b.arrivals()) == 1 })
		if got := b.arrivals()[0].from; got != a.key {
			t.Error("the packet came from someone else than its sender")
		}
	})
}

func TestRelayRate(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.hub.host.SetLink(far)
		const rate = 20_000
		a, b, nas := w.trio(near, func(c *Config) { c.RelayRate = rate })
		b.echo = false
		stop := w.flow(a, b, 20*time.Millisecond)
		w.byRelay(a, b, "nas", 15*time.Second)
		stop()
		before := nas.Status().Relay
		go a.stream(b, time.Millisecond, 10*time.Second) // 104 kB/s with the header
		time.Sleep(10 * time.Second)
		after := nas.Status().Relay
		if got := after.Bytes - before.Bytes; got > 12*rate || got < 5*rate || after.Dropped == before.Dropped {
			t.Errorf("relayed %d bytes in 10 s and dropped %d packets, want %d bytes", got, after.Dropped-before.Dropped, 10*rate)
		}
	})
}
