package punch

import (
	"fmt"
	"testing"
	"time"

	"meshd/punch/nattest"
)

// TestForgottenMappings has gateways forget their mappings, those to the relay
// too, at every phase of the heartbeats. The steps of 20 ms meet the pings at
// every 10 ms.
func TestForgottenMappings(t *testing.T) {
	for name, who := range map[string][]int{"pinging": {0}, "answering": {1}, "both": {0, 1}} {
		for _, every := range []time.Duration{10 * time.Millisecond, 50 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s, pings every %v", name, every), func(t *testing.T) {
				story(t, func(t *testing.T, w *world) {
					a, b := directPair(t, w, nattest.PortRestricted, nattest.PortRestricted)
					b.echo = true
					done := make(chan struct{})
					go func() {
						defer close(done)
						a.stream(b, every, 6*time.Minute)
					}()
					var worst time.Duration
					for phase := time.Duration(0); phase < freshBeat; phase += 20 * time.Millisecond {
						w.awaitDirect(a, b, 20*time.Second)
						time.Sleep(2*time.Second + phase)
						a.forget()
						from := time.Now()
						for _, i := range who {
							w.agents[i].sites[0].Reboot()
						}
						time.Sleep(4 * time.Second)
						silence := a.silence(from, time.Now())
						worst = max(worst, silence)
						if silence >= time.Second {
							t.Errorf("phase %v: silent for %v, want below 1s", phase, silence)
						}
					}
					t.Logf("silent for %v at worst", worst)
					<-done
				})
			})
		}
	}
}

// TestForgottenMappingsUnderSparseTraffic is the same for pings so seldom that who
// answers them has long ceased to wait when the next is due. One ping gets lost at
// most: silence is two intervals, and mostly less.
func TestForgottenMappingsUnderSparseTraffic(t *testing.T) {
	for name, who := range map[string][]int{"pinging": {0}, "answering": {1}, "both": {0, 1}} {
		for _, every := range []time.Duration{700 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second} {
			t.Run(fmt.Sprintf("%s, pings every %v", name, every), func(t *testing.T) {
				story(t, func(t *testing.T, w *world) {
					a, b := directPair(t, w, nattest.PortRestricted, nattest.PortRestricted)
					b.echo = true
					done := make(chan struct{})
					end := make(chan struct{})
					go func() {
						defer close(done)
						for n := uint64(0); ; n++ {
							a.send(b, n)
							select {
							case <-time.After(every):
							case <-end:
								return
							}
						}
					}()
					var worst time.Duration
					for phase := range 16 {
						w.awaitDirect(a, b, 20*time.Second)
						time.Sleep(15*time.Second + every*time.Duration(phase)/16)
						a.forget()
						from := time.Now()
						for _, i := range who {
							w.agents[i].sites[0].Reboot()
						}
						time.Sleep(6 * every)
						worst = max(worst, a.silence(from, time.Now()))
					}
					t.Logf("silent for %v at worst", worst)
					if worst > 2*every+100*time.Millisecond {
						t.Errorf("silent for %v, want two intervals", worst)
					}
					close(end)
					<-done
				})
			})
		}
	}
}
