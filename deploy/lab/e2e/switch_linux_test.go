package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// TestPathsSwitchUnderAFlow has one TCP connection carry on while the path of its
// packets goes from direct to relayed and back, between underlays of any size.
func TestPathsSwitchUnderAFlow(t *testing.T) {
	addrA, addrB := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
	const large = "ip saddr 198.51.100.1 ip daddr 198.51.100.2 meta length > 1280"
	for _, row := range []struct {
		name   string
		before func(l *lab.Lab, b *mesh.Agent) error // the underlay as it is from the start
		amid   func(l *lab.Lab, b *mesh.Agent) error // what becomes of it; nil: nothing
		mtu    int                                   // in the end
	}{
		{"both carry 1500", func(*lab.Lab, *mesh.Agent) error { return nil }, nil, 1412},
		{"direct 9000, by relay 1280", func(l *lab.Lab, b *mesh.Agent) error {
			must(t, interfaceMTU(9000)(b, b.Host.Link()))
			return l.Drop("ip protocol udp ip daddr " + mesh.HubAddr.String() + " meta length > 1280")
		}, nil, 1200},
		{"direct 1280, by relay 1500", func(l *lab.Lab, _ *mesh.Agent) error { return l.Drop(large) }, nil, 1216},
		{"an interface of 9000 becomes one of 1280", func(_ *lab.Lab, b *mesh.Agent) error {
			return interfaceMTU(9000)(b, b.Host.Link())
		}, func(_ *lab.Lab, b *mesh.Agent) error { return interfaceMTU(1280)(b, b.Host.Link()) }, 1200},
		{"the direct path swallows what is above 1280 all at once", func(*lab.Lab, *mesh.Agent) error { return nil },
			func(l *lab.Lab, _ *mesh.Agent) error { return l.Drop(large) }, 1216},
	} {
		t.Run(row.name, func(t *testing.T) {
			l, err := lab.New()
			must(t, err)
			t.Cleanup(func() { l.Close() })
			a, b := pairAt(t, l, lab.Delay{OneWay: time.Millisecond}, mesh.HubAddr, addrA, addrB,
				func(b *mesh.Agent) error { return row.before(l, b) })
			f := connect(t, a, b)
			if row.amid == nil {
				awaitMTU(t, a, "b", row.mtu)
			} else {
				f.carries(t, "nothing has changed yet", time.Second)
				must(t, row.amid(l, b))
				f.carries(t, "the underlay changed", time.Second)
				awaitMTU(t, a, "b", row.mtu)
			}
			f.carries(t, "direct", time.Second)
			must(t, l.Cut(addrA, addrB))
			must(t, a.AwaitPath(t.Context(), patience, "b", "relay"))
			f.carries(t, "to the relay", time.Second)
			must(t, l.Heal(addrA, addrB))
			must(t, a.AwaitPath(t.Context(), 90*time.Second, "b", "direct"))
			f.carries(t, "and back", time.Second)
		})
	}
}

// connection is one over TCP by which a megabyte a second goes from one member to
// another until the test ends.
type connection struct {
	mu      sync.Mutex // guards following
	last    time.Time  // something arrived
	longest time.Duration
	bytes   int
	ended   error // nil: it has not
}

func connect(t *testing.T, from, to *mesh.Agent) *connection {
	t.Helper()
	addr, err := from.Address(t.Context(), to.Host.Name)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	sink := to.Host.Command(ctx, "socat", "-u", "TCP4-LISTEN:9100,reuseaddr", "-")
	out, err := sink.StdoutPipe()
	must(t, err)
	must(t, sink.Start())
	source := from.Host.Command(ctx, "sh", "-c", "while head -c 20000 /dev/zero; do sleep 0.02; done | socat -u - TCP4:"+addr+":9100,retry=100,interval=0.05")
	must(t, source.Start())
	c, done := &connection{}, make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, err := out.Read(buf)
			if !c.arrived(n, err) {
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		source.Wait() // killed, as is
		sink.Wait()
	})
	must(t, mesh.Await(t.Context(), patience, func() error {
		if n, _, err := c.state(); n == 0 {
			return fmt.Errorf("nothing has arrived by TCP (%v)", err)
		}
		return nil
	}))
	return c
}

// arrived notes n bytes, and reports whether there may be more.
func (c *connection) arrived(n int, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if !c.last.IsZero() {
		c.longest = max(c.longest, now.Sub(c.last))
	}
	c.last, c.ended = now, err
	c.bytes += n
	return err == nil
}

// state is how much has arrived, and the longest time in which nothing did, since the
// last call of restart.
func (c *connection) state() (bytes int, silence time.Duration, ended error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes, max(c.longest, time.Since(c.last)), c.ended
}

func (c *connection) restart() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes, c.longest = 0, 0
}

// carries waits until as much has arrived, since it was last called, as does in d,
// and judges the silence in it.
func (c *connection) carries(t *testing.T, what string, d time.Duration) {
	t.Helper()
	begun := time.Now()
	must(t, mesh.Await(t.Context(), patience, func() error {
		n, _, err := c.state()
		if time.Since(begun) < d || float64(n) < 500_000*d.Seconds() {
			return fmt.Errorf("%s: %d bytes have arrived in %v (%v)", what, n, time.Since(begun), err)
		}
		return nil
	}))
	n, silence, err := c.state()
	t.Logf("%s: longest silence %v in %d bytes", what, silence.Round(time.Millisecond), n)
	if err != nil || silence > bearable {
		t.Errorf("%s: a silence of %v, want at most %v; %v", what, silence, bearable, err)
	}
	c.restart()
}
