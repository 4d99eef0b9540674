package punch

import (
	"testing"
	"testing/synctest"
	"time"

	"meshd/punch/nattest"
)

// TestLenientSymmetricNATs: both give a port for each destination, and let in what comes
// from others than asked. Each probe is answered from a new port, where nobody asked; that
// must not go on by itself.
func TestLenientSymmetricNATs(t *testing.T) {
	const most = 1200 // packets of an attempt
	for name, nats := range map[string][2]nattest.NAT{
		"open, open":             {nattest.SymmetricOpen, nattest.SymmetricOpen},
		"open, restricted":       {nattest.SymmetricOpen, nattest.SymmetricRestricted},
		"restricted, restricted": {nattest.SymmetricRestricted, nattest.SymmetricRestricted},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				a, b := w.add("alice", nats[0]), w.add("bob", nats[1])
				time.Sleep(3 * time.Second)
				a.stream(b, time.Second, 30*time.Second)
				for _, x := range []*agent{a, b} {
					if n := w.net.Sent(x.host).Packets; n > most {
						t.Errorf("%s sent %d packets, want at most %d", x.name, n, most)
					}
				}
			})
		})
	}
}
