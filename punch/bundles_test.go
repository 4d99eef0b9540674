package punch

import (
	"encoding/binary"
	"testing"
	"time"

	"meshd/punch/nattest"
)

// A round is written as what came back of it: of the bundle, and of the others.
func TestBundlesJudge(t *testing.T) {
	type round struct{ together, alone int }
	whole, spoilt, lossy, dead := round{4, 4}, round{1, 4}, round{3, 3}, round{0, 0}
	for _, test := range []struct {
		name   string
		lost   bool // believed before
		rounds []round
		over   bool // the test, after these
		want   bool
	}{
		{"sound", false, []round{whole}, true, false},
		{"a single loss", false, []round{{3, 4}, whole}, true, false},
		{"a way with losses", false, []round{{3, 4}, {2, 4}, lossy}, true, false},
		{"a dead way", false, []round{dead}, true, false},
		{"all but the first spoilt, not sure yet", false, []round{spoilt, spoilt, spoilt, spoilt}, false, false},
		{"all but the first spoilt", false, []round{spoilt, spoilt, spoilt, spoilt, spoilt}, true, true},
		{"the last one spoilt", false, []round{{3, 4}, {3, 4}, {3, 4}, {3, 4}, {3, 4}}, true, true},
		{"all dropped", false, []round{{0, 4}, {0, 4}, {0, 4}, {0, 4}, {0, 4}}, true, true},
		{"still spoilt", true, []round{spoilt}, true, true},
		{"by chance whole", true, []round{whole, whole, spoilt}, true, true},
		{"still off on a way with losses", true, []round{lossy}, true, true},
		{"mended, and single ones lost by chance", true, []round{whole, {4, 3}, whole, whole, whole}, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			now := time.Unix(1e9, 0)
			b := bundles{lost: test.lost, packets: bundleBulk}
			for i, r := range test.rounds {
				if !b.next(now, 0) {
					t.Fatalf("no round %d", i+1)
				}
				for n := range uint64(bundleSize) {
					b.asked[n], b.asked[100+n] = true, false
				}
				for n := range uint64(r.together) {
					b.answered(n)
					b.answered(n) // a copy on the way counts once
				}
				for n := range uint64(r.alone) {
					b.answered(100 + n)
				}
				now = b.deadline()
			}
			if over := !b.next(now, 0); over != test.over || b.lost != test.want {
				t.Errorf("over %v, lost %v, want %v, %v", over, b.lost, test.over, test.want)
			}
		})
	}
}

func TestBundlesRest(t *testing.T) {
	now := time.Unix(1e9, 0)
	var b bundles
	if b.next(now, 0) || !b.deadline().IsZero() {
		t.Error("a round before anything was sent")
	}
	b.packets = bundleBulk
	b.next(now, 200*time.Millisecond)
	if b.next(now.Add(799*time.Millisecond), 0) || !b.running {
		t.Error("judged before answers can be here")
	}
	now = now.Add(800 * time.Millisecond)
	b.next(now, 0) // nothing was answered
	b.packets = bundleBulk
	if b.next(now.Add(bundleAgain-1), 0) || !b.next(now.Add(bundleAgain), 0) {
		t.Error("the next test is not after bundleAgain")
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

// TestBundlesLost has a's kernel spoil what leaves in bundles: after a few
// seconds the packets go one by one, and in bundles again once that is mended.
func TestBundlesLost(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := w.pair(nattest.Linux, nattest.Linux)
		b.keeps.Store(true)
		a.stream(b, 50*time.Millisecond, time.Second)
		w.awaitDirect(a, b, 10*time.Second)
		expect := func(when string, sent, intact, atLeast int, singly bool) {
			t.Helper()
			if got := a.path(b).Singly; got != singly || intact*100 < sent*atLeast {
				t.Errorf("%s: %d of %d packets intact, want %d %%; singly %v, want %v", when, intact, sent, atLeast, got, singly)
			}
		}
		sent, intact := a.bulk(b, 10*time.Second)
		expect("sound", sent, intact, 100, false)

		a.host.SpoilBundles(true)
		sent, intact = a.bulk(b, bundleAgain+10*time.Second)
		if intact == sent {
			t.Error("nothing was spoilt")
		}
		sent, intact = a.bulk(b, bundleAgain+10*time.Second)
		expect("spoilt and found out, looked at again", sent, intact, 100, true)
		if b.path(a).Singly {
			t.Error("b's bundles are found lost")
		}

		a.host.SpoilBundles(false)
		sent, intact = a.bulk(b, bundleAgain+10*time.Second)
		expect("mended", sent, intact, 100, false)
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
		a.bulk(b, 20*time.Second)
		if !a.path(b).Singly {
			t.Fatal("not found out")
		}
		a.LinkChanged()
		time.Sleep(time.Second)
		if a.path(b).Singly {
			t.Error("still believed after a change of the network")
		}
		a.bulk(b, 20*time.Second)
		if !a.path(b).Singly {
			t.Error("not found out again")
		}
	})
}
