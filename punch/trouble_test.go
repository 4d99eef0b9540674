package punch

import (
	"bytes"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"meshd/punch/nattest"
	"meshd/punch/wire"
)

// TestRelayedPair has two meet that can't be direct. After the first three
// seconds nothing is spent on it until five minutes have passed.
func TestRelayedPair(t *testing.T) {
	for _, tt := range []struct {
		name string
		nat  nattest.NAT
	}{{"random", nattest.Symmetric}, {"sequential", nattest.SymmetricSequential(1)}, {"preserving", nattest.SymmetricPreserving}} {
		t.Run("symmetric random with "+tt.name, func(t *testing.T) {
			story(t, func(t *testing.T, w *world) {
				a, b := w.pair(nattest.Symmetric, tt.nat)
				time.Sleep(5 * time.Second)
				b.echo = true
				done := make(chan struct{})
				go func() {
					defer close(done)
					a.stream(b, 50*time.Millisecond, 5*time.Minute)
				}()
				time.Sleep(3100 * time.Millisecond)
				first := a.path(b).probes()
				before := w.net.Sent(a.host).Packets + w.net.Sent(b.host).Packets
				const rest = 290 * time.Second
				time.Sleep(rest)
				spent := w.net.Sent(a.host).Packets + w.net.Sent(b.host).Packets - before - 2*int(rest/(50*time.Millisecond))
				t.Logf("%d probes in the first 3 s, then %d packets besides data in %v", first, spent, rest)
				if first > 60 {
					t.Errorf("%d probes in the first 3 s, want at most 60", first)
				}
				if keepalives := 2 * int(rest/(20*time.Second)); spent > keepalives {
					t.Errorf("%d packets spent on a pair that can't be direct, want %d for the relay sessions", spent, keepalives)
				}
				<-done
				time.Sleep(time.Second)
				if got := len(a.arrivals()); got != 6000 {
					t.Errorf("%d answers, want 6000", got)
				}
				p := a.path(b)
				if p.Path != ViaRelay || len(p.Attempts) == 0 {
					t.Errorf("path = %+v, want relay after an attempt", p)
				}
				t.Log(p.Reason)
			})
		})
	}
}

func TestLoss(t *testing.T) {
	for _, loss := range []float64{0.05, 0.2} {
		for _, echo := range []bool{true, false} {
			name := map[bool]string{true: "both ways", false: "one way"}[echo]
			t.Run(fmt.Sprintf("%.0f%% %s", loss*100, name), func(t *testing.T) {
				story(t, func(t *testing.T, w *world) {
					a, b := directPair(t, w, nattest.Linux, nattest.Linux)
					for _, x := range []*agent{a, b} {
						x.sites[0].SetLink(nattest.Link{Delay: 10 * time.Millisecond, Loss: loss / 2, Jitter: 5 * time.Millisecond})
					}
					b.echo = echo
					b.keeps.Store(true)
					since := a.path(b).Since
					a.stream(b, 20*time.Millisecond, 2*time.Minute)
					if got := a.path(b); got.Path != ViaDirect || got.Since != since {
						t.Errorf("%v loss: path = %v since %v (%s), want direct since %v", loss, got.Path, got.Since, got.Reason, since)
					}
					relayed := float64(w.hub.count()) / 6000
					t.Logf("%v loss: %.1f %% of the packets sent twice", loss, relayed*100)
					if relayed > 0.1 {
						t.Errorf("%v loss: %.1f %% of the packets sent twice, want at most 10", loss, relayed*100)
					}
				})
			})
		}
	}
}

// TestAtRest counts what ten idle peers and the hub cost.
func TestAtRest(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a := w.addWarm("alice", nattest.Linux)
		for i := range 10 {
			w.addWarm(string(rune('b'+i)), nattest.Linux)
		}
		w.settle()
		for _, b := range w.agents[1:] {
			w.awaitDirect(a, b, 20*time.Second)
		}
		time.Sleep(time.Minute)
		traffic := func() int {
			n := w.net.Sent(a.host)
			total := n.Bytes + 28*n.Packets
			for _, b := range append([]*nattest.Host{w.hub.host}, hosts(w.agents[1:])...) {
				n := w.net.Delivered(b, a.host)
				total += n.Bytes + 28*n.Packets
			}
			return total
		}
		before := traffic()
		const span = 30 * time.Minute
		time.Sleep(span)
		bits := float64(traffic()-before) * 8 / span.Seconds()
		t.Logf("at rest with 10 peers: %.0f bit/s, both directions and IP headers counted", bits)
		if bits > 3000 {
			t.Errorf("at rest with 10 peers: %.0f bit/s, want at most 3000", bits)
		}
		for _, b := range w.agents[1:] {
			if !a.directTo(b) {
				t.Errorf("path to %s = %+v, want direct", b.name, a.path(b))
			}
		}
	})
}

func hosts(as []*agent) []*nattest.Host {
	var hs []*nattest.Host
	for _, a := range as {
		hs = append(hs, a.host)
	}
	return hs
}

func TestSamePrefixElsewhere(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		t.Log("both homes are 192.168.1.0/24, and a stranger at alice's has bob's address")
		a, b := w.pair(nattest.Linux, nattest.Linux)
		bob := b.host.Addr()
		stranger := a.sites[0].Host(nattest.LAN, netip.PrefixFrom(bob, 24))
		s, err := stranger.Listen(netip.AddrPortFrom(netip.IPv4Unspecified(), b.Port()))
		if err != nil {
			t.Fatal(err)
		}
		go reflect(s)
		a.send(b, 1)
		w.awaitDirect(a, b, 200*time.Millisecond)
		time.Sleep(10 * time.Second)
		if got := a.path(b).Addr.Addr(); got == bob {
			t.Errorf("alice sends to %v, which is not bob", got)
		}
		if !a.directTo(b) {
			t.Errorf("path = %+v, want direct", a.path(b))
		}
		s.Close()
	})
}

// reflect sends back whatever comes.
func reflect(s *nattest.Socket) {
	bufs, sizes, from := [][]byte{make([]byte, 2048)}, []int{0}, make([]netip.AddrPort, 1)
	for {
		if _, err := s.Read(bufs, sizes, from); err != nil {
			return
		}
		s.Write([][]byte{bufs[0][:sizes[0]]}, from[0])
	}
}

func TestSameLAN(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a := w.add("alice", nattest.Linux)
		b := w.start("bob", a.sites[0].Host(nattest.LAN, netip.MustParsePrefix("192.168.1.77/24")), nil)
		w.settle()
		start := time.Now()
		a.send(b, 1)
		w.awaitDirect(a, b, 50*time.Millisecond)
		t.Logf("direct after %v", time.Since(start))
		p := a.path(b)
		if p.Class != "lan" || p.Addr.Addr() != b.host.Addr() {
			t.Errorf("path = %+v, want %v on the LAN", p, b.host.Addr())
		}
	})
}

func TestPeerRemoved(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := directPair(t, w, nattest.Linux, nattest.Linux)
		before := a.path(b).Path
		a.SetPeers(nil)
		w.await("peer gone", time.Second, func() bool { return len(a.Status().Peers) == 0 })
		if err := a.send(b, 1); err == nil {
			t.Error("sent to a removed peer, want an error")
		}
		if _, err := a.Ping(t.Context(), b.key); err != ErrPeer {
			t.Errorf("ping: %v, want %v", err, ErrPeer)
		}
		b.forget()
		a.forget()
		b.send(a, 1)
		time.Sleep(time.Second)
		for _, g := range a.arrivals() {
			if g.from != (Key{}) {
				t.Errorf("a packet of a removed peer is still named (path was %v)", before)
			}
		}
	})
}

// TestReplay records a pair's probes in the core and sends them again, from a
// place that neither knows.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var seen [][]byte
		w := newWorldWith(t, nattest.Config{Seed: 1, Delivered: func(_, _ *nattest.Host, p nattest.Packet) {
			mu.Lock()
			defer mu.Unlock()
			if wire.KindOf(p.Payload) == wire.Probe {
				seen = append(seen, bytes.Clone(p.Payload))
			}
		}})
		defer w.close()
		a, b := directPair(t, w, nattest.FullCone, nattest.FullCone)
		time.Sleep(5 * time.Second)
		mu.Lock()
		probes := seen
		mu.Unlock()
		if len(probes) == 0 {
			t.Fatal("no probe was seen")
		}
		mallory := w.net.Host(access, netip.MustParsePrefix("198.18.66.6/32"))
		s, err := mallory.Listen(netip.MustParseAddrPort("198.18.66.6:666"))
		if err != nil {
			t.Fatal(err)
		}
		var targets []netip.AddrPort
		for _, x := range []*agent{a, b} {
			targets = append(targets, x.Status().Hub.Observed)
		}
		before := [2]PeerStatus{a.path(b), b.path(a)}
		for _, p := range probes {
			forged := bytes.Clone(p)
			forged[len(forged)-1] ^= 1
			short := p[:64]
			for _, to := range targets {
				s.Write([][]byte{p, forged, short}, to)
			}
		}
		time.Sleep(5 * time.Second)
		for i, x := range []*agent{a, b} {
			if got := w.net.Delivered(x.host, mallory); got.Packets != 0 {
				t.Errorf("%s answered %d times", x.name, got.Packets)
			}
			other := w.agents[1-i]
			if got := x.path(other); got.Addr != before[i].Addr || got.Since != before[i].Since {
				t.Errorf("%s: path = %+v, want %+v", x.name, got, before[i])
			}
		}
	})
}

func TestNoise(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, _ := directPair(t, w, nattest.FullCone, nattest.FullCone)
		mallory := w.net.Host(access, netip.MustParsePrefix("198.18.66.6/32"))
		s, err := mallory.Listen(netip.MustParseAddrPort("198.18.66.6:666"))
		if err != nil {
			t.Fatal(err)
		}
		for _, head := range [][]byte{{}, {0xd1, 'm', 's', 'h'}, {0xd2, 1}, {0xd2, 5}, {0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42}, {1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}} {
			for size := range 200 {
				b := make([]byte, max(size, len(head)))
				copy(b, head)
				s.Write([][]byte{b}, a.Status().Hub.Observed)
			}
		}
		time.Sleep(time.Second)
		if got := w.net.Delivered(a.host, mallory); got.Packets != 0 {
			t.Errorf("answered %d times to noise, want none", got.Packets)
		}
	})
}

func TestHandshakeRepeated(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := w.pair(nattest.Linux, nattest.Linux)
		a.SetRelay(Relay{})
		w.await("no relay", time.Second, func() bool { return a.Status().Hub.Via == ViaNone })
		initiation := make([]byte, 148)
		initiation[0] = 1
		if err := a.Send(b.key, [][]byte{initiation}); err == nil {
			t.Error("sent without a path, want an error")
		}
		time.Sleep(time.Second)
		t.Log("a way appears, and the handshake goes out without WireGuard's repeating it")
		a.SetRelay(a.conf.Relay)
		w.await("handshake", time.Second, func() bool { return len(b.arrivals()) > 0 })
	})
}
