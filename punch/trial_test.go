package punch

import (
	"slices"
	"sync"
	"testing"
	"time"

	"meshd/punch/nattest"
)

// TestDroppedData: a network lets probes through and drops WireGuard's packets.
// Both ends find out, and leave the path alone until it may have changed.
func TestDroppedData(t *testing.T) {
	for _, both := range []bool{true, false} {
		story(t, func(t *testing.T, w *world) {
			a, b := w.pair(nattest.Linux, nattest.RestrictedCone)
			a.keeps.Store(true)
			b.keeps.Store(true)
			a.send(b, 0)
			w.awaitDirect(a, b, time.Second)
			a.drops.Store(true)
			b.drops.Store(both)
			b.echo = true

			start := time.Now()
			var stream sync.WaitGroup
			defer stream.Wait()
			stream.Go(func() { a.stream(b, 250*time.Millisecond, 11*time.Minute) })
			noted := func() bool { return a.path(b).Reason == NoData && b.path(a).Reason == NoData }
			w.await("both know that data does not come through", time.Minute, noted)
			silent := a.silence(start, time.Now())
			t.Logf("noted after %v, silent for %v", time.Since(start), silent)
			if silent > 4*time.Second {
				t.Errorf("silent for %v, want 4s at most", silent)
			}
			last := a.path(b).Attempts[len(a.path(b).Attempts)-1]
			if last.Verdict != NoData || !slices.ContainsFunc(last.Tried, func(t Tried) bool { return t.Heard }) {
				t.Errorf("the attempt is recorded as %+v", last)
			}
			since := time.Now()
			time.Sleep(9 * time.Minute)
			if s := a.silence(since, time.Now()); s > 400*time.Millisecond || !noted() {
				t.Errorf("then silent for %v, %q", s, a.path(b).Reason)
			}
			a.drops.Store(false)
			b.drops.Store(false)
			w.awaitDirect(a, b, 3*time.Minute)
		})
	}
}

// TestDroppedHandshake: the first handshake shows it, and is repeated by relay.
func TestDroppedHandshake(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := w.pair(nattest.Linux, nattest.Linux)
		b.keeps.Store(true)
		a.send(b, 0)
		w.awaitDirect(a, b, time.Second)
		time.Sleep(time.Minute)
		a.drops.Store(true)
		b.drops.Store(true)
		b.echo = true
		a.forget()
		a.Send(b.key, [][]byte{handshakeOf(typeInitiation)})
		w.await("response by relay", 1500*time.Millisecond, func() bool { return len(a.arrivals()) > 0 })
		a.stream(b, 100*time.Millisecond, 3*time.Second)
		if a.path(b).Reason != NoData || b.path(a).Reason != NoData {
			t.Errorf("paths are %+v and %+v", a.path(b), b.path(a))
		}
	})
}

// TestSilentPeer: a peer whose tunnel says nothing, and data in one direction
// only, are no reason to leave a direct path.
func TestSilentPeer(t *testing.T) {
	for _, dead := range []bool{true, false} {
		story(t, func(t *testing.T, w *world) {
			a, b := w.pair(nattest.Linux, nattest.Linux)
			a.keeps.Store(true)
			b.keeps.Store(true)
			a.send(b, 0)
			w.awaitDirect(a, b, time.Second)
			b.dead.Store(dead)
			before, gone := w.hub.count(), 0
			a.Send(b.key, [][]byte{handshakeOf(typeInitiation)})
			for range 600 {
				a.send(b, 1)
				time.Sleep(200 * time.Millisecond)
				if !a.directTo(b) || !b.directTo(a) {
					gone++
				}
			}
			if gone > 0 {
				t.Errorf("dead %v: not direct %d of 600 times: %s", dead, gone, a.path(b).Reason)
			}
			n := w.hub.count() - before
			t.Logf("dead %v: %d of 600 packets by relay as well", dead, n)
			if !dead && n > 0 || n > 150 {
				t.Errorf("dead %v: %d of 600 packets by relay as well", dead, n)
			}
		})
	}
}

// Who looks at the kernel's WireGuard now and then may miss that a packet came
// straight: some few by relay are no proof then.
func TestProof(t *testing.T) {
	start := time.Unix(1e9, 0)
	for _, tt := range []struct {
		relayed  uint64
		after    time.Duration
		straight bool
		coarse   bool
		want     bool
	}{
		{trialProof, 2 * time.Second, false, false, true},
		{trialProof, 2 * time.Second, false, true, true},
		{trialProof, 2 * time.Second, true, false, false},
		{trialHint, 2 * time.Second, false, false, false},
		{trialHint, trialSpan, false, false, true},
		{trialHint, trialSpan, false, true, false},
		{1, trialSpan, false, false, false},
	} {
		var r trial
		r.begin(start)
		r.take(start, traffic{coarse: tt.coarse})
		r.take(start.Add(time.Millisecond), traffic{relayed: tt.relayed, coarse: tt.coarse})
		if tt.straight {
			r.take(start.Add(2*time.Millisecond), traffic{straight: 1, coarse: tt.coarse})
		}
		if got := r.proven(start.Add(tt.after)); got != tt.want {
			t.Errorf("%d by relay, straight %v, after %v, looked at now and then %v: proven %v, want %v", tt.relayed, tt.straight, tt.after, tt.coarse, got, tt.want)
		}
	}
}
