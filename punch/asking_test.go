package punch

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"meshd/punch/nattest"
	"meshd/punch/wire"
)

// home is a kind of access with its distances in [world].
type home struct{ nattest.Kind }

func (h home) toCore() time.Duration {
	return access.Delay + time.Duration(len(h.NATs))*nattest.LAN.Delay
}

func (h home) toHub() time.Duration           { return h.toCore() + time.Millisecond }
func (h home) to(other home) time.Duration    { return h.toCore() + other.toCore() }
func (h home) byHub(other home) time.Duration { return h.toHub() + other.toHub() }

// within is how long after asking the first direct packet arrives at the latest: half
// a round trip by the hub, and one straight. Who maps by destination can't be reached
// first, and must wait before it reaches the other: see [path.patience].
func (h home) within(other home) time.Duration {
	told := h.byHub(other)
	if c := classOf(h.Kind); c == foreseen || c == hard {
		told = 2*h.toHub() + metSlack
	}
	return told + 2*h.to(other) + writing
}

// writing is what hosts take to put the packets of one exchange on the wire, each a
// microsecond.
const writing = 10 * time.Microsecond

// eachPlain runs a test for each ordered pair that simultaneous opening brings
// together.
func eachPlain(t *testing.T, f func(t *testing.T, asks, other home)) {
	for _, x := range nattest.Kinds {
		for _, y := range nattest.Kinds {
			if wanted(x, y) == "plain" {
				t.Run(x.Name+" asks "+y.Name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { f(t, home{x}, home{y}) })
				})
			}
		}
	}
}

// watchFirst makes a world and returns how to learn when WireGuard's first packet
// arrived straight at any of its hosts; zero: none did.
func watchFirst(t *testing.T) (*world, func() time.Time) {
	var mu sync.Mutex
	var first time.Time
	var w *world
	w = newWorldWith(t, nattest.Config{Seed: 1, Delivered: func(from, to *nattest.Host, p nattest.Packet) {
		mu.Lock()
		defer mu.Unlock()
		if wire.KindOf(p.Payload) == wire.Relay && from != w.hub.host && to != w.hub.host {
			p.Payload = p.Payload[wire.HeaderSize:] // the first is in an envelope
		}
		if first.IsZero() && wire.KindOf(p.Payload) == wire.WireGuard {
			first = time.Now()
		}
	}})
	w.addServer()
	return w, func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return first
	}
}

// Two that are at rest: one asks for the other, who is told by way of the hub to open
// its NAT, and does. The asker hears it one way later, and another way later the
// other has the asker's first direct packet.
func TestAsking(t *testing.T) {
	eachPlain(t, func(t *testing.T, asks, other home) {
		w, first := watchFirst(t)
		defer w.close()
		a, b := w.addByTLS("alice", asks.NATs), w.addByTLS("bob", other.NATs)
		b.keeps.Store(true)
		time.Sleep(5 * time.Second)
		asked := time.Now()
		a.Send(b.key, [][]byte{handshakeOf(typeInitiation)})
		time.Sleep(time.Second)
		if got, want := first().Sub(asked), asks.within(other); first().IsZero() || got > want {
			t.Errorf("first direct packet after %v, want it within %v", got, want)
		}
	})
}

// One who joins asks as soon as the hub knows where it is, which takes a round trip.
// It has no need to wait for the hub's welcome.
func TestAskingOnJoining(t *testing.T) {
	eachPlain(t, func(t *testing.T, asks, other home) {
		for _, names := range [][2]string{{"alice", "bob"}, {"bob", "alice"}} { // of either key the lower
			w, first := watchFirst(t)
			a := w.joins(names[0], other)
			time.Sleep(5 * time.Second)
			began := time.Now()
			b := w.joins(names[1], asks)
			synctest.Wait()
			a.Send(b.key, [][]byte{handshakeOf(typeInitiation)})
			b.Send(a.key, [][]byte{handshakeOf(typeInitiation)})
			time.Sleep(time.Second)
			w.close()
			if got, want := first().Sub(began), 2*asks.toHub()+asks.within(other); first().IsZero() || got > want {
				t.Errorf("%s joins: first direct packet after %v, want it within %v", names[1], got, want)
			}
		}
	})
}

// joins starts an agent that punches before anyone asks.
func (w *world) joins(name string, h home) *agent {
	host, _ := w.net.Place(access, h.NATs...)
	a := w.start(name, host, func(c *Config) { c.DialWebSocket, c.PrePunch = w.hub.dial(c.Relay.ID), 0 })
	a.keeps.Store(true)
	return a
}

// By IPv6, too, where two firewalls stand in the way, and IPv4 leads to none.
func TestAskingBySix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, first := watchFirst(t)
		defer w.close()
		a, b := w.addSix("alice", "2001:db8:a::/64", nattest.Symmetric), w.addSix("bob", "2001:db8:b::/64", nattest.Symmetric)
		b.keeps.Store(true)
		time.Sleep(5 * time.Second)
		asked := time.Now()
		a.Send(b.key, [][]byte{handshakeOf(typeInitiation)})
		time.Sleep(time.Second)
		h := home{nattest.Kind{NATs: []nattest.NAT{nattest.Linux}}} // as far away as one behind a NAT
		if got, want := first().Sub(asked), h.within(h); first().IsZero() || got > want {
			t.Errorf("first direct packet after %v, want it within %v", got, want)
		}
	})
}
