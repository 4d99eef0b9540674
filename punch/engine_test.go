package punch

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"meshd/punch/nattest"
	"meshd/punch/wire"
)

// story runs a test in a world of its own.
func story(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		f(t, w)
	})
}

// pair are two agents behind NATs which know each other and have talked to nobody.
func (w *world) pair(a, b nattest.NAT) (*agent, *agent) {
	x, y := w.add("alice", a), w.add("bob", b)
	w.settle()
	return x, y
}

// settle waits until the agents have their relay sessions and each other's addresses.
func (w *world) settle() {
	w.await("relay sessions", time.Second, func() bool {
		for _, a := range w.agents {
			if a.Status().Hub.Via != ViaRelay {
				return false
			}
		}
		return true
	})
	time.Sleep(200 * time.Millisecond)
}

func TestColdPair(t *testing.T) {
	for _, name := range []string{"alice first", "bob first"} {
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T, w *world) {
				a, b := w.pair(nattest.PortRestricted, nattest.PortRestricted)
				if name == "bob first" {
					a, b = b, a
				}
				t.Log("the first packet goes by relay at once")
				start := time.Now()
				if err := a.send(b, 1); err != nil {
					t.Fatal(err)
				}
				w.await("first packet", 50*time.Millisecond, func() bool { return len(b.arrivals()) == 1 })
				t.Log("and the pair is direct within 100 ms")
				w.awaitDirect(a, b, 100*time.Millisecond-time.Since(start))
				relayed := w.hub.count()
				a.forget()
				b.forget()
				b.echo = true
				a.stream(b, 10*time.Millisecond, time.Second)
				time.Sleep(50 * time.Millisecond)
				if got := w.hub.count() - relayed; got != 0 {
					t.Errorf("%d packets relayed on a direct path, want 0", got)
				}
				if got := len(a.arrivals()); got != 100 {
					t.Errorf("%d answers, want 100", got)
				}
			})
		})
	}
}

func TestPrePunched(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := w.addWarm("alice", nattest.PortRestricted), w.addWarm("bob", nattest.Linux)
		w.settle()
		t.Log("nobody asked, and the pair is direct")
		w.awaitDirect(a, b, 2*time.Second)
		t.Log("the first packet goes directly")
		b.echo = true
		start := time.Now()
		a.send(b, 1)
		w.await("answer", time.Second, func() bool { return len(a.arrivals()) > 0 })
		if got, want := time.Since(start), 50*time.Millisecond; got > want {
			t.Errorf("first answer after %v, want below %v", got, want)
		}
		if got := w.hub.count(); got != 0 {
			t.Errorf("%d packets relayed, want 0", got)
		}
	})
}

// outage breaks something while traffic flows both ways, and expects traffic to
// go on within a second.
func outage(t *testing.T, w *world, a, b *agent, what string, breakIt func()) {
	t.Helper()
	b.mu.Lock()
	b.echo = true
	b.mu.Unlock()
	done := make(chan struct{})
	start := time.Now()
	go func() {
		defer close(done)
		a.stream(b, 20*time.Millisecond, 12*time.Second)
	}()
	time.Sleep(5 * time.Second)
	breakIt()
	<-done
	silence := a.silence(start.Add(time.Second), start.Add(12*time.Second))
	t.Logf("%s: silent for %v", what, silence)
	if silence >= time.Second {
		t.Errorf("%s: silent for %v, want below 1s", what, silence)
	}
}

func directPair(t *testing.T, w *world, x, y nattest.NAT) (*agent, *agent) {
	a, b := w.pair(x, y)
	a.send(b, 0)
	w.awaitDirect(a, b, time.Second)
	return a, b
}

func TestPathDeath(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := directPair(t, w, nattest.Linux, nattest.Linux)
		pa, pb := public(w, a), public(w, b)
		outage(t, w, a, b, "path cut", func() { w.net.Cut(pa, pb) })
		if a.directTo(b) || b.directTo(a) {
			t.Error("still direct over a dead path")
		}
		t.Log("the path is back")
		w.net.Heal(pa, pb)
		go a.stream(b, 50*time.Millisecond, 25*time.Second)
		d := w.awaitDirect(a, b, 20*time.Second)
		t.Logf("direct again after %v", d)
		time.Sleep(30 * time.Second)
	})
}

func TestPathDeathOneWay(t *testing.T) {
	for _, dir := range []string{"forth", "back"} {
		t.Run(dir, func(t *testing.T) {
			story(t, func(t *testing.T, w *world) {
				a, b := directPair(t, w, nattest.Linux, nattest.Linux)
				from, to := public(w, a), public(w, b)
				if dir == "back" {
					from, to = to, from
				}
				outage(t, w, a, b, "one direction cut", func() { w.net.CutOneWay(from, to) })
			})
		})
	}
}

// public is the address of an agent's outermost gateway.
func public(w *world, a *agent) netip.Addr {
	for _, c := range a.Status().Local.Candidates {
		if c.Kind == wire.Reflexive {
			return c.Addr.Addr()
		}
	}
	w.t.Fatalf("%s has no public address", a.name)
	return netip.Addr{}
}

func TestMappingLoss(t *testing.T) {
	for _, who := range []string{"sender", "receiver"} {
		t.Run(who, func(t *testing.T) {
			story(t, func(t *testing.T, w *world) {
				a, b := directPair(t, w, nattest.PortRestricted, nattest.PortRestricted)
				victim := a
				if who == "receiver" {
					victim = b
				}
				outage(t, w, a, b, "gateway of the "+who+" rebooted", func() { victim.sites[0].Reboot() })
				w.awaitDirect(a, b, time.Second)
			})
		})
	}
}

func TestAddressChange(t *testing.T) {
	for _, who := range []string{"sender", "receiver"} {
		t.Run(who, func(t *testing.T) {
			story(t, func(t *testing.T, w *world) {
				a, b := directPair(t, w, nattest.Linux, nattest.Linux)
				victim := a
				if who == "receiver" {
					victim = b
				}
				outage(t, w, a, b, "network of the "+who+" changed", func() {
					cafe := w.net.Site(nattest.Gateway{
						Public: []netip.Addr{netip.MustParseAddr("198.18.7.7")}, NAT: nattest.Linux,
					}, access)
					victim.host.Move(cafe.Segment, nattest.LAN, netip.MustParsePrefix("10.1.1.9/24"))
					time.Sleep(100 * time.Millisecond) // the link monitor's debounce
					victim.LinkChanged()
				})
				w.awaitDirect(a, b, time.Second)
			})
		})
	}
}
