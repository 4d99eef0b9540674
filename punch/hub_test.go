package punch

import (
	"testing"
	"time"

	"meshd/punch/nattest"
	"meshd/punch/wire"
)

func TestHubGone(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := w.addWarm("alice", nattest.PortRestricted), w.addWarm("bob", nattest.PortRestricted)
		w.settle()
		w.awaitDirect(a, b, 2*time.Second)
		t.Log("the hub dies")
		w.hub.stop()
		w.deafen()
		b.echo = true
		start := time.Now()
		for range 60 { // five minutes of little traffic
			a.send(b, 1)
			time.Sleep(5 * time.Second)
		}
		if got := len(a.arrivals()); got != 60 {
			t.Errorf("%d answers without a hub, want 60", got)
		}
		if got := a.path(b); got.Path != ViaDirect || got.Since.After(start) {
			t.Errorf("path = %v since %v, want direct since before the hub died", got.Path, got.Since)
		}
		if got := a.Status().Hub.Via; got != ViaNone {
			t.Errorf("hub via %v, want none", got)
		}

		t.Log("an agent restarts without a hub, and is back within 2 s")
		a.restart()
		w.awaitDirect(a, b, 2*time.Second)

		t.Log("the hub is back, and nobody notices but the session")
		before := a.path(b).Since
		w.hub.begin()
		w.await("session", 25*time.Second, func() bool { return a.Status().Hub.Via == ViaRelay })
		time.Sleep(10 * time.Second)
		if got := a.path(b); got.Path != ViaDirect || got.Since != before {
			t.Errorf("path = %v since %v, want direct since %v", got.Path, got.Since, before)
		}
	})
}

func TestHubRestarted(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := w.pair(nattest.Symmetric, nattest.Symmetric)
		b.echo = true
		t.Log("the relay restarts under a relayed pair")
		go a.stream(b, 20*time.Millisecond, 3*time.Second)
		time.Sleep(time.Second)
		w.hub.stop()
		w.hub.begin()
		from := time.Now()
		time.Sleep(3 * time.Second)
		if got := a.silence(from, from.Add(1900*time.Millisecond)); got > 500*time.Millisecond {
			t.Errorf("silent for %v after the relay restarted, want below 500ms", got)
		}
	})
}

func TestUDPBlocked(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		host, _ := w.net.Place(access, nattest.Blocked)
		id := wire.RelayID(len(w.agents) + 1)
		start := time.Now()
		a := w.start("alice", host, func(c *Config) { c.DialWebSocket = w.hub.dial(id) })
		b := w.add("bob", nattest.PortRestricted)
		w.await("TLS", time.Second, func() bool { return a.Status().Hub.Via == ViaTLS })
		if got, want := time.Since(start), 250*time.Millisecond+3*22*time.Millisecond+5*time.Millisecond; got > want {
			t.Errorf("TLS after %v, want %v", got, want)
		}
		time.Sleep(time.Second)
		b.echo = true
		a.stream(b, 20*time.Millisecond, 2*time.Second)
		time.Sleep(100 * time.Millisecond)
		if got := len(a.arrivals()); got != 100 {
			t.Errorf("%d answers by TLS, want 100", got)
		}
		if got := a.path(b).Path; got != ViaTLS {
			t.Errorf("path = %v, want tls", got)
		}
		pong, err := a.Ping(t.Context(), b.key)
		if err != nil || pong.Via != ViaTLS || pong.RTT > 60*time.Millisecond {
			t.Errorf("ping = %+v, %v", pong, err)
		}
	})
}

func TestUDPComesBack(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		host, sites := w.net.Place(access, nattest.Linux)
		id := wire.RelayID(len(w.agents) + 1)
		sites[0].BlockUDP(true)
		a := w.start("alice", host, func(c *Config) { c.DialWebSocket = w.hub.dial(id) })
		b := w.add("bob", nattest.PortRestricted)
		w.await("TLS", time.Second, func() bool { return a.Status().Hub.Via == ViaTLS })
		time.Sleep(5 * time.Second)
		b.echo = true
		done := make(chan struct{})
		start := time.Now()
		go func() {
			defer close(done)
			a.stream(b, 50*time.Millisecond, 2*time.Minute)
		}()
		time.Sleep(10 * time.Second)
		t.Log("UDP is let through")
		sites[0].BlockUDP(false)
		w.await("UDP", time.Minute, func() bool { return a.Status().Hub.Via == ViaRelay })
		w.awaitDirect(a, b, 5*time.Second)
		t.Log("and blocked again")
		sites[0].BlockUDP(true)
		w.await("TLS", 5*time.Second, func() bool { return a.Status().Hub.Via == ViaTLS })
		<-done
		if got := a.silence(start, start.Add(2*time.Minute)); got > 2*time.Second {
			t.Errorf("silent for %v, want below 2s", got)
		}
	})
}

func TestWrongClock(t *testing.T) {
	for _, ahead := range []time.Duration{26 * time.Hour, -26 * time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			story(t, func(t *testing.T, w *world) {
				t.Log("alice believes the hub, whose clock is right; bob's is right anyway")
				a := w.add("alice", nattest.PortRestricted)
				w.settle()
				b := w.start("bob", placed(w), func(c *Config) { c.ClockOffset = ahead; c.Relay = Relay{} })
				w.hub.mu.Lock()
				w.hub.ahead = ahead
				w.hub.mu.Unlock()
				a.restart()
				b.SetRelay(Relay{ID: b.id, Addrs: w.hub.addrs, Key: relayKey(b.id)})
				w.settle()
				a.send(b, 1)
				w.awaitDirect(a, b, time.Second)
				if got := a.ClockOffset(); (got - ahead).Abs() > 50*time.Millisecond {
					t.Errorf("clock offset = %v, want %v", got, ahead)
				}
				t.Log("and the pair outlives the tags' hours")
				b.echo = true
				for range 180 {
					time.Sleep(time.Minute)
					a.send(b, 1)
				}
				time.Sleep(time.Second)
				if got := len(a.arrivals()); got != 180 {
					t.Errorf("%d answers in three hours, want 180", got)
				}
				if !a.directTo(b) {
					t.Errorf("path = %+v, want direct", a.path(b))
				}
			})
		})
	}
}

// placed is a host behind a home's NAT.
func placed(w *world) *nattest.Host {
	host, _ := w.net.Place(access, nattest.PortRestricted)
	return host
}

func TestSetRelay(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := w.pair(nattest.Symmetric, nattest.Symmetric)
		a.SetRelay(Relay{})
		w.await("no relay", time.Second, func() bool { return a.Status().Hub.Via == ViaNone })
		if err := a.send(b, 1); err == nil {
			t.Error("sent without a path, want an error")
		}
		if _, err := a.Ping(t.Context(), b.key); err != ErrNoPath {
			t.Errorf("ping: %v, want %v", err, ErrNoPath)
		}
		a.SetRelay(a.conf.Relay)
		w.await("relay", time.Second, func() bool { return a.Status().Hub.Via == ViaRelay })
		a.send(b, 2)
		w.await("packet", time.Second, func() bool { return len(b.arrivals()) == 1 })
	})
}

// deafen makes the hub tell nobody of changes any more.
func (w *world) deafen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deaf = true
}
