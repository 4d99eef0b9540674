package nattest_test

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"meshd/punch/nattest"
)

// TestBirthday holds random allocation against the arithmetic of searching for it: N
// sockets behind it, M ports probed of S, P = 1 − C(S−N,M)/C(S,M).
func TestBirthday(t *testing.T) {
	tests := []struct {
		name       string
		allocation nattest.Allocation
		n, m, s    int
		want       float64
	}{
		{"block of 1024", nattest.RandomBlock(1024), 64, 11, 1024, 0.50},
		{"block of 1024, longer", nattest.RandomBlock(1024), 64, 36, 1024, 0.90},
		{"block of 2048", nattest.RandomBlock(2048), 64, 72, 2048, 0.90},
		{"range of pf", nattest.Random(50001, 65535), 256, 42, 15535, 0.50},
		{"full range", nattest.Random(1024, 65535), 256, 175, 64512, 0.50},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const rounds = 100
			met := 0
			for seed := range uint64(rounds) {
				bubble(t, nattest.Config{Seed: seed}, func(w *world) {
					if search(w, tt.allocation, tt.n, tt.m, tt.s) {
						met++
					}
				})
			}
			limit := 4 * math.Sqrt(tt.want*(1-tt.want)/rounds)
			if got := float64(met) / rounds; math.Abs(got-tt.want) > limit {
				t.Errorf("met %.2f of the time, want %.2f ± %.2f", got, tt.want, limit)
			}
		})
	}
}

// search has one socket behind a port-restricted NAT look for n sockets behind a random
// one, by m probes into the s ports around a port that is known.
func search(w *world, a nattest.Allocation, n, m, s int) bool {
	nat := nattest.Symmetric
	nat.Allocation = a
	hard, _ := w.Place(wan, nat)
	easy, _ := w.Place(wan, nattest.PortRestricted)
	hub := w.server(3478)[0].LocalAddr()

	seeker := listen(w.t, easy, endpoint("0.0.0.0:41641"))
	target := w.observe(seeker, hub)
	sample := w.observe(listen(w.t, hard, endpoint("0.0.0.0:0")), hub)
	for range n {
		send(w.t, listen(w.t, hard, endpoint("0.0.0.0:0")), target, "open")
	}
	time.Sleep(settle)
	low := 65536 - s
	if a.Block > 0 {
		low = 1024 + (int(sample.Port())-1024)/s*s
	}
	for _, offset := range rand.New(rand.NewPCG(uint64(sample.Port()), 0)).Perm(s)[:m] {
		send(w.t, seeker, netip.AddrPortFrom(sample.Addr(), uint16(low+offset)), "seek")
	}
	time.Sleep(settle)
	return w.Delivered(easy, hard).Packets > 0
}
