package tunnel

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, begun := newQuota(), time.Now()
		passes := func(what string, after time.Duration) {
			t.Helper()
			w.await()
			if got := time.Since(begun); got != after {
				t.Errorf("%s: after %v, want %v", what, got, after)
			}
			begun = time.Now()
		}
		w.enter(paceWindow - paceBatch)
		passes("room for a batch", 0)
		w.enter(paceBatch)
		time.AfterFunc(time.Millisecond, func() { w.leave(paceBatch) })
		passes("a batch has left", time.Millisecond)

		// As long as there is progress nothing is taken for lost.
		w.enter(paceBatch)
		for i := range time.Duration(4) {
			time.AfterFunc((i+1)*time.Millisecond+time.Microsecond, func() { w.leave(paceBatch / 4) })
		}
		passes("bit by bit", 4*time.Millisecond+time.Microsecond)

		w.enter(10 * paceWindow)
		passes("lost", paceTimeout)
		if n := w.inside.Load(); n != 0 {
			t.Errorf("%d packets are taken to be inside after a loss", n)
		}
		w.leave(5)
		if n := w.inside.Load(); n != 0 {
			t.Errorf("%d packets inside after handshakes", n)
		}
	})
}
