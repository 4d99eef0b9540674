package punch

import (
	"cmp"
	"encoding/binary"
	"testing"
	"time"

	"meshd/punch/nattest"
)

// A round is written as what came back of it: of the bundle, and of the others.
func TestBundlesJudge(t *testing.T) {
	type round struct{ together, alone int }
	whole, spoilt, lossy, dead := round{4, 4}, round{1, 4}, round{3, 3}, round{0, 0}
	const unproven, pass, lost = bundlesUnproven, bundlesPass, bundlesLost
	for _, test := range []struct {
		name   string
		before belief
		rounds []round
		rest   time.Duration // after these; 0: the next round follows at once
		want   belief
	}{
		{"new, sound", unproven, []round{whole}, bundleAgain, pass},
		{"new, a way with losses", unproven, []round{lossy}, bundleAgain, pass},
		{"new, a bad way with losses", unproven, []round{{2, 1}}, bundleAgain, pass},
		{"new, a loss in the bundle", unproven, []round{{3, 4}, whole}, bundleAgain, pass},
		{"new, the first ones came", unproven, []round{{1, 1}}, bundleRetry, unproven},
		{"new, a dead way", unproven, []round{dead}, bundleRetry, unproven},
		{"new, all but the first spoilt, one alone lost", unproven, []round{spoilt, {1, 3}}, bundleRetry, unproven},
		{"new, all but the first spoilt", unproven, []round{spoilt, spoilt, spoilt, spoilt, spoilt}, bundleAgain, lost},
		{"sound", pass, []round{whole}, bundleAgain, pass},
		{"a single loss", pass, []round{{3, 4}, whole}, bundleAgain, pass},
		{"a way with losses", pass, []round{{3, 4}, {2, 4}, lossy}, bundleAgain, pass},
		{"a dead way", pass, []round{dead}, bundleAgain, pass},
		{"all but the first spoilt, not sure yet", pass, []round{spoilt, spoilt, spoilt, spoilt}, 0, pass},
		{"all but the first spoilt", pass, []round{spoilt, spoilt, spoilt, spoilt, spoilt}, bundleAgain, lost},
		{"the last one spoilt", pass, []round{{3, 4}, {3, 4}, {3, 4}, {3, 4}, {3, 4}}, bundleAgain, lost},
		{"all dropped", pass, []round{{0, 4}, {0, 4}, {0, 4}, {0, 4}, {0, 4}}, bundleAgain, lost},
		{"still spoilt", lost, []round{spoilt}, bundleAgain, lost},
		{"by chance whole", lost, []round{whole, whole, spoilt}, bundleAgain, lost},
		{"still off on a way with losses", lost, []round{lossy}, bundleAgain, lost},
		{"mended, and single ones lost by chance", lost, []round{whole, {4, 3}, whole, whole, whole}, bundleAgain, pass},
	} {
		t.Run(test.name, func(t *testing.T) {
			now := time.Unix(1e9, 0)
			b := bundles{belief: test.before}
			for i, r := range test.rounds {
				if !b.next(now, true, 0) {
					t.Fatalf("no round %d", i+1)
				}
				for n := range uint64(bundleSize) {
					b.asked[n], b.asked[100+n] = true, false
				}
				for n := range uint64(r.together) {
					b.answered(now, n)
					b.answered(now, n) // a copy on the way counts once
				}
				for n := range uint64(r.alone) {
					b.answered(now, 100+n)
				}
				now = b.deadline()
			}
			if over := !b.next(now, true, 0); over != (test.rest > 0) || b.belief != test.want {
				t.Errorf("over %v, believed %v, want %v, %v", over, b.belief, test.rest > 0, test.want)
			}
			if test.rest > 0 && (b.next(now.Add(test.rest-1), true, 0) || !b.next(now.Add(test.rest), true, 0)) {
				t.Errorf("the next test is not after %v", test.rest)
			}
		})
	}
}

func TestBundlesRest(t *testing.T) {
	now := time.Unix(1e9, 0)
	var b bundles
	if b.next(now, false, 0) || !b.deadline().IsZero() {
		t.Error("a round before much was sent at once")
	}
	b.next(now, true, 200*time.Millisecond)
	b.asked[1] = true
	if b.next(now.Add(799*time.Millisecond), true, 0) || !b.running {
		t.Error("judged before answers can be here")
	}
	b.answered(now.Add(200*time.Millisecond), 1)
	if got := b.deadline(); got != now.Add(200*time.Millisecond) {
		t.Errorf("all was answered, and waited for until %v", got.Sub(now))
	}
}

// bulk sends a bundle of ten twice a second, and returns how many packets arrived
// as they were sent.
func (a *agent) bulk(to *agent, d time.Duration) (sent, intact int) {
	to.forget()
	for end := time.Now().Add(d); time.Now().Before(end); sent += 10 {
		var bufs [][]byte
		for range 10 {
			bufs = append(bufs, checked(uint64(sent+len(bufs))))
		}
		a.Send(to.key, bufs)
		time.Sleep(500 * time.Millisecond)
	}
	time.Sleep(time.Second)
	for _, g := range to.arrivals() {
		if g.sound {
			intact++
		}
	}
	return sent, intact
}

// checked is a packet whose number stands at its end again.
func checked(n uint64) []byte {
	b := packet(n, false)
	binary.BigEndian.PutUint64(b[len(b)-8:], n)
	return b
}

// expectBulk sends for a while, of which all must arrive, and looks whether a says
// that its packets go one by one.
func (a *agent) expectBulk(to *agent, when string, d time.Duration, singly bool) {
	a.w.t.Helper()
	sent, intact := a.bulk(to, d)
	if intact != sent {
		a.w.t.Errorf("%s: %d of %d packets intact", when, intact, sent)
	}
	if got := a.path(to).Singly; got != singly {
		a.w.t.Errorf("%s: one by one %v, want %v", when, got, singly)
	}
}

// TestBundlesLost has a's kernel spoil what leaves in bundles. Where that is so
// from the start, nothing is ever lost. Where it begins later, packets go one by
// one after the next look, and in bundles again once it is mended.
func TestBundlesLost(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := w.pair(nattest.Linux, nattest.Linux)
		b.keeps.Store(true)
		a.host.SpoilBundles(true)
		a.stream(b, 50*time.Millisecond, time.Second)
		w.awaitDirect(a, b, 10*time.Second)
		a.expectBulk(b, "spoilt from the start", 10*time.Second, true)
		if b.path(a).Singly {
			t.Error("b's bundles are found lost")
		}
		a.host.SpoilBundles(false)
		a.expectBulk(b, "mended", bundleAgain+10*time.Second, false)

		a.host.SpoilBundles(true)
		if sent, intact := a.bulk(b, bundleAgain+10*time.Second); intact == sent {
			t.Error("nothing was spoilt: bundles did not come back")
		}
		a.expectBulk(b, "spoilt again, found out and looked at again", bundleAgain+10*time.Second, true)
	})
}

// A new path starts anew.
func TestBundlesOfAnotherPath(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := w.pair(nattest.Linux, nattest.Linux)
		b.keeps.Store(true)
		a.stream(b, 50*time.Millisecond, time.Second)
		w.awaitDirect(a, b, 10*time.Second)
		a.host.SpoilBundles(true)
		a.expectBulk(b, "spoilt", 20*time.Second, true)
		a.LinkChanged()
		time.Sleep(time.Second)
		if a.path(b).Singly {
			t.Error("still believed after a change of the network")
		}
		a.expectBulk(b, "after the change", 20*time.Second, true)
	})
}

// TestRelayedBundlesLost has one after the other spoil them where a pair is
// relayed, by the hub or by another member: who sends finds out, wherever it is.
func TestRelayedBundlesLost(t *testing.T) {
	for _, relay := range []string{"", "nas"} {
		for _, culprit := range []string{"nobody", "sender", "relay", "receiver"} {
			t.Run("by "+cmp.Or(relay, "hub")+", spoilt by "+culprit, func(t *testing.T) {
				story(t, func(t *testing.T, w *world) {
					if relay != "" {
						w.hub.host.SetLink(far)
					}
					a, b, nas := w.trio(near, func(c *Config) { c.HubOnly = relay == "" })
					b.echo = false
					b.keeps.Store(true)
					by := w.hub.host
					if relay != "" {
						by = nas.host
					}
					if spoils := map[string]*nattest.Host{"sender": a.host, "relay": by, "receiver": b.host}[culprit]; spoils != nil {
						spoils.SpoilBundles(true)
					}
					stop := w.flow(a, b, 20*time.Millisecond)
					w.byRelay(a, b, relay, 15*time.Second)
					stop()
					time.Sleep(time.Second)
					a.expectBulk(b, "bulk", 20*time.Second, culprit == "sender" || culprit == "relay")
				})
			})
		}
	}
}
