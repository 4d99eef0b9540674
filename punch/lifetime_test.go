package punch

import (
	"net/netip"
	"testing"
	"time"

	"meshd/punch/nattest"
)

// forgetful is a gateway that keeps an idle flow for 20 s, in use or not.
func forgetful(outboundOnly bool) nattest.NAT {
	n := nattest.PortRestricted
	n.Filter.Lifetime, n.Filter.OutboundOnly = 20*time.Second, outboundOnly
	return n
}

// TestShortLifetime has two at rest behind gateways that forget sooner than most:
// after some losses the path is kept, and costs no more than that takes.
func TestShortLifetime(t *testing.T) {
	for name, outboundOnly := range map[string]bool{"refreshed both ways": false, "refreshed from inside": true} {
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T, w *world) {
				a, b := w.addWarm("alice", forgetful(outboundOnly)), w.addWarm("bob", forgetful(outboundOnly))
				w.settle()
				w.awaitDirect(a, b, 20*time.Second)
				time.Sleep(5 * time.Minute)
				since := a.path(b).Since
				time.Sleep(15 * time.Minute)
				if p := a.path(b); p.Path != ViaDirect || p.Since != since {
					t.Errorf("path = %v since %v (%s), want direct since %v", p.Path, p.Since, p.Reason, since)
				}
				b.echo = true
				start := time.Now()
				a.stream(b, 20*time.Millisecond, 2*time.Second)
				time.Sleep(time.Second)
				if got := a.silence(start, start.Add(2*time.Second)); got > 300*time.Millisecond {
					t.Errorf("silent for %v after the rest", got)
				}
			})
		})
	}
}

// TestOutboundOnlyUnderLoad has data go one way through gateways that packets from
// outside do not refresh.
func TestOutboundOnlyUnderLoad(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := directPair(t, w, forgetful(true), forgetful(true))
		since := a.path(b).Since
		a.stream(b, 50*time.Millisecond, 3*time.Minute)
		if p := a.path(b); p.Path != ViaDirect || p.Since != since {
			t.Errorf("path = %v since %v (%s), want direct since %v", p.Path, p.Since, p.Reason, since)
		}
	})
}

// TestRebootAtRest has a gateway forget everything while nobody speaks: when its
// host does, it is heard at once, and the path comes back.
func TestRebootAtRest(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := w.addWarm("alice", nattest.PortRestricted), w.addWarm("bob", nattest.PortRestricted)
		w.settle()
		w.awaitDirect(a, b, 20*time.Second)
		time.Sleep(2 * time.Minute)
		b.sites[0].Reboot()
		time.Sleep(3 * time.Second)
		a.echo = true
		start := time.Now()
		b.stream(a, 20*time.Millisecond, 3*time.Second)
		time.Sleep(time.Second)
		if got := b.silence(start, start.Add(3*time.Second)); got > time.Second {
			t.Errorf("silent for %v, want below 1s", got)
		}
		w.awaitDirect(a, b, 30*time.Second)
	})
}

// TestBothMove has both ends change their network in the same moment.
func TestBothMove(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := directPair(t, w, nattest.Linux, nattest.Linux)
		outage(t, w, a, b, "both moved", func() {
			for i, x := range []*agent{a, b} {
				cafe := w.net.Site(nattest.Gateway{
					Public: []netip.Addr{netip.AddrFrom4([4]byte{198, 18, 7, byte(7 + i)})}, NAT: nattest.Linux,
				}, access)
				x.host.Move(cafe.Segment, nattest.LAN, netip.MustParsePrefix("10.1.1.9/24"))
			}
			time.Sleep(100 * time.Millisecond) // the link monitor's debounce
			a.LinkChanged()
			b.LinkChanged()
		})
		w.awaitDirect(a, b, 10*time.Second)
	})
}

// TestSleep has a host be away for an hour, as one that sleeps: nothing of it is
// heard, and then its network changed, as the link monitor says of a clock that
// jumped.
func TestSleep(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := w.addWarm("alice", nattest.Linux), w.addWarm("bob", nattest.Linux)
		w.settle()
		w.awaitDirect(a, b, 20*time.Second)
		b.sites[0].SetLink(nattest.Link{Delay: 10 * time.Millisecond, Loss: 1})
		time.Sleep(time.Hour)
		b.sites[0].Reboot() // nothing is left of what it had mapped
		b.sites[0].SetLink(access)
		b.LinkChanged()
		d := w.awaitDirect(a, b, 30*time.Second)
		t.Logf("direct %v after waking", d)
		w.awaitDirect(b, a, time.Second)
	})
}
