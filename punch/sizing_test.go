package punch

import (
	"net/netip"
	"testing"
	"time"

	"meshd/punch/nattest"
)

// TestSizes has a path narrow down without a word, as behind a tunnel whose ICMP
// is filtered: the peers know what fits, direct and by relay.
func TestSizes(t *testing.T) {
	for _, tt := range []struct {
		name string
		mtu  int // of b's line
		aNAT nattest.NAT
		via  Via
		want int
	}{
		{"Ethernet", 1500, nattest.Linux, ViaDirect, 1444},
		{"PPPoE", 1492, nattest.Linux, ViaDirect, 1444},
		{"tunnel in a tunnel", 1400, nattest.Linux, ViaDirect, 1360}, // 1400 - 28 - 8 for the relay, which may be next
		{"the least of IPv6", 1280, nattest.Linux, ViaDirect, 1232},
		{"relayed", 1280, nattest.Symmetric, ViaRelay, 1232},
	} {
		t.Run(tt.name, func(t *testing.T) {
			story(t, func(t *testing.T, w *world) {
				far := nattest.Linux
				if tt.via == ViaRelay {
					far = nattest.Symmetric
				}
				a, b := w.pair(tt.aNAT, far)
				b.sites[0].SetLink(nattest.Link{Delay: 10 * time.Millisecond, MTU: tt.mtu})
				b.echo = true
				a.stream(b, 50*time.Millisecond, 10*time.Second)
				if got := a.path(b); got.Path != tt.via || got.Largest != tt.want {
					t.Errorf("via %v with %d, want %v with %d", got.Path, got.Largest, tt.via, tt.want)
				}
				if got := b.path(a); got.Largest != tt.want {
					t.Errorf("the other end: %d, want %d", got.Largest, tt.want)
				}
			})
		})
	}
}

// TestNarrowerPathIsHedged: what is found to carry less has data go by relay, too,
// until everybody has heeded that, and not for longer.
func TestNarrowerPathIsHedged(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := w.pair(nattest.Linux, nattest.Linux)
		b.echo = true
		a.stream(b, 50*time.Millisecond, 10*time.Second)
		relayed := w.hub.count()
		b.sites[0].SetLink(nattest.Link{Delay: 10 * time.Millisecond, MTU: 1280})
		a.stream(b, 50*time.Millisecond, sizeAgain)
		if got := a.path(b); got.Path != ViaDirect || got.Largest != 1232 {
			t.Errorf("via %v with %d, want direct with 1232", got.Path, got.Largest)
		}
		want := int(2 * hedgeFor / (50 * time.Millisecond)) // of both ends
		if got := w.hub.count() - relayed; got < want || got > 2*want {
			t.Errorf("%d packets by relay, want those of %v, %d, and probes of each size", got, hedgeFor, want)
		}
	})
}

// A host is where it was, whatever its port is now: what is known of it counts.
func TestSizeOfAnotherPort(t *testing.T) {
	now := time.Unix(1e9, 0)
	at := func(addr string) sizedWay { return sizedWay{route: route{addr: netip.MustParseAddrPort(addr)}} }
	s := make(sizing)
	s.get(at("198.51.100.1:1"), now, 1444).learn(now, 1248)
	s.get(at("198.51.100.1:3"), now, 1444).learn(now, 1360)
	for addr, want := range map[string]int{"198.51.100.1:2": 1248, "198.51.100.2:1": 0} {
		if got := s.get(at(addr), now, 1444).known; got != want {
			t.Errorf("%s is believed to carry %d, want %d", addr, got, want)
		}
	}
	if got := s.get(sizedWay{}, now, 1444).known; got != 0 {
		t.Errorf("the relay is believed to carry %d", got)
	}
}
