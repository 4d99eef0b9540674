package punch

import (
	"testing"
	"time"

	"meshd/punch/nattest"
)

// TestRebootAmongGatewaysThatTakePackets has a gateway lose its mappings under
// traffic, where that at the other end, or at both, takes for its own what it
// doesn't let in: what comes from a mapping that is new spoils the way back.
func TestRebootAmongGatewaysThatTakePackets(t *testing.T) {
	for _, tt := range []struct {
		name     string
		far      nattest.NAT
		rebooted []int
	}{
		{"the far one, which accepts, too", nattest.LinuxAccept, []int{1}},
		{"the far one", nattest.PortRestricted, []int{1}},
		{"both, which accept", nattest.LinuxAccept, []int{0, 1}},
		{"both", nattest.PortRestricted, []int{0, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			story(t, func(t *testing.T, w *world) {
				a, b := directPair(t, w, nattest.LinuxAccept, tt.far)
				b.echo = true
				done := make(chan struct{})
				go func() {
					defer close(done)
					a.stream(b, 50*time.Millisecond, 5*time.Minute)
				}()
				time.Sleep(4 * time.Second)
				from := time.Now()
				for _, i := range tt.rebooted {
					w.agents[i].sites[0].Reboot()
				}
				w.await("the loss noticed", time.Second, func() bool { return !a.directTo(b) && !b.directTo(a) })
				w.awaitDirect(a, b, 3*time.Second)
				t.Logf("direct again after %v, silent for %v", time.Since(from), a.silence(from, time.Now()))
				if s := a.silence(from, time.Now()); s >= time.Second {
					t.Errorf("silent for %v, want below 1s", s)
				}

				t.Log("Minutes later both are back on the sockets for all peers, and not a packet got lost for it.")
				time.Sleep(time.Second)
				a.forget()
				from = time.Now()
				time.Sleep(3 * time.Minute)
				s := a.silence(from, time.Now())
				if !a.directTo(b) || !b.directTo(a) || !a.Direct(b.key).IsValid() || !b.Direct(a.key).IsValid() || s > 60*time.Millisecond {
					t.Errorf("paths are %+v and %+v, silent for %v", a.path(b), b.path(a), s)
				}
				<-done
			})
		})
	}
}
