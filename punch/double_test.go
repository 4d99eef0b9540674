package punch

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"meshd/punch/nattest"
)

// TestDirectAlone has two agents talk from before they meet, and counts what the
// relay carries once both are direct: nothing.
func TestDirectAlone(t *testing.T) {
	for _, bob := range []nattest.Kind{nattest.Kinds[0], nattest.Kinds[1], nattest.Kinds[4], nattest.Kinds[7], nattest.Kinds[12]} {
		for _, after := range []time.Duration{0, 30 * time.Millisecond, 70 * time.Millisecond, 300 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s after %v", bob.Name, after), func(t *testing.T) {
				story(t, func(t *testing.T, w *world) {
					w.addServer()
					a := w.addWarm("alice", nattest.RestrictedCone)
					time.Sleep(after)
					b := w.addWarm("bob", bob.NATs...)
					var streams sync.WaitGroup
					defer streams.Wait()
					streams.Go(func() { a.stream(b, 5*time.Millisecond, 3*time.Second) })
					streams.Go(func() { b.stream(a, 5*time.Millisecond, 3*time.Second) })
					w.awaitDirect(a, b, time.Second)
					time.Sleep(50 * time.Millisecond) // what is on its way
					before := w.hub.count()
					time.Sleep(1500 * time.Millisecond)
					if n := w.hub.count() - before; n > 0 {
						t.Errorf("%d packets by relay after both were direct", n)
					}
				})
			})
		}
	}
}
