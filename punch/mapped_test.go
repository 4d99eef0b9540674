package punch

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"meshd/punch/nattest"
	"meshd/punch/wire"
)

func TestMappedAddressesArePublished(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		forwarded, mapped := ap("203.0.113.77:1000"), ap("203.0.113.77:2000")
		host, _ := w.net.Place(access, nattest.Symmetric)
		a := w.start("alice", host, func(c *Config) { c.Advertise = []netip.AddrPort{forwarded} })
		published := func(kind wire.CandidateKind, addr netip.AddrPort) bool {
			return slices.Contains(a.Status().Local.Candidates, cand(kind, addr.String()))
		}
		w.settle()
		nat := a.Status().Local.NAT

		t.Log("a gateway maps the port")
		a.SetMapped([]netip.AddrPort{mapped})
		w.await("both addresses", 10*time.Millisecond, func() bool {
			return published(wire.Mapped, forwarded) && published(wire.Mapped, mapped)
		})
		if got := a.Status().Local.NAT; got != nat {
			t.Errorf("the NAT became %+v, want it as it was: %+v", got, nat)
		}

		t.Log("the gateway forgets it; what the owner forwards stays")
		a.SetMapped(nil)
		w.await("one address", 10*time.Millisecond, func() bool {
			return published(wire.Mapped, forwarded) && !published(wire.Mapped, mapped)
		})
	})
}
