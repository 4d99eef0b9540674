package mdns

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestWatch: what is heard is told once, what left is told after its time, and
// no more than the limit is remembered.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var there, told, calls atomic.Int32
		there.Store(1)
		w := Watch{
			Type: "_ipp._tcp", Interfaces: func() []Interface { return []Interface{eth0} }, Log: slog.New(slog.DiscardHandler),
			Changed: func(list []Service) { told.Store(int32(len(list))); calls.Add(1) },
			browse: func(ctx context.Context, _ string, _ []Interface, found func(Service)) error {
				for i := range there.Load() {
					found(Service{Instance: fmt.Sprint(i), Host: "p.local.", Port: 631, Addresses: []netip.Addr{eth0.Addresses[0]}})
				}
				<-ctx.Done()
				return nil
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		expect := func(when string, list, news int32) {
			t.Helper()
			synctest.Wait()
			if told.Load() != list || calls.Load() != news {
				t.Errorf("%s: told of %d in %d calls, want %d in %d", when, told.Load(), calls.Load(), list, news)
			}
		}
		expect("at first", 1, 1)
		await(ctx, nil, 3*(watchRound+watchPause)+time.Second)
		expect("the same again", 1, 1)
		there.Store(0)
		await(ctx, nil, unheard+watchRound+watchPause)
		expect("gone", 0, 2)
		there.Store(MaxInstances + 3)
		await(ctx, nil, watchRound+watchPause+time.Second)
		expect("many", MaxInstances, 2+MaxInstances)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
