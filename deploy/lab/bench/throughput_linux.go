package main

import (
	"fmt"
	"os"
	"time"
)

const rounds = 3

// throughput compares meshd's direct path with bare wireguard-go, load by load,
// in turns: machines are shared and drift.
func (b *bench) throughput() error {
	p, bare, ours, err := b.newRivals()
	if err != nil {
		return err
	}
	defer p.lab.Close()
	for _, l := range loads {
		if err := b.compare(p, bare, ours, l); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		name    string
		measure func(*bench, tunnel) (float64, error)
	}{{"round trip, idle", p.roundTrip}, {"round trip under load", p.roundTripLoaded}} {
		var ratios []float64
		for range rounds {
			base, err := m.measure(b, bare)
			if err != nil {
				return err
			}
			over, err := m.measure(b, ours)
			if err != nil {
				return err
			}
			fmt.Printf("  %s: bare %.2f ms, direct %.2f ms\n", m.name, base, over)
			ratios = append(ratios, over/base)
		}
		b.add(m.name, median(ratios), "x", "of bare wireguard-go")
	}
	return b.peaks("", bare, ours)
}

// fallback is throughput without the fast path: wireguard-go's own pipeline over our
// sockets and TUN, which is what is left where the fast path does not fit the module.
func (b *bench) fallback() error {
	// The daemons inherit it.
	if err := os.Setenv("MESHD_FASTPATH", "off"); err != nil {
		return err
	}
	defer os.Unsetenv("MESHD_FASTPATH")
	p, bare, ours, err := b.newRivals()
	if err != nil {
		return err
	}
	defer p.lab.Close()
	for _, l := range fallbackLoads {
		l.name = "no fast path: " + l.name
		if err := b.compare(p, bare, ours, l); err != nil {
			return err
		}
	}
	return b.peaks("no fast path: ", bare, ours)
}

// newRivals is a pair with both tunnels between its two.
func (b *bench) newRivals() (p *pair, bare, ours tunnel, err error) {
	if p, err = b.newPair(); err != nil {
		return nil, bare, ours, err
	}
	if bare, err = p.plain(b); err == nil {
		ours, err = p.mesh(b)
	}
	if err == nil {
		err = p.a.AwaitPath(b.ctx, 30*time.Second, "b", "direct")
	}
	if err != nil {
		p.lab.Close()
	}
	return p, bare, ours, err
}

// compare puts one load through both tunnels, round by round.
func (b *bench) compare(p *pair, bare, ours tunnel, l load) error {
	var rate, cost []float64
	for range rounds {
		base, err := p.run(b, bare, l)
		if err != nil {
			return err
		}
		over, err := p.run(b, ours, l)
		if err != nil {
			return err
		}
		fmt.Printf("  %s: bare %.2f Gbit/s, %.2f CPU-s/GB; direct %.2f Gbit/s, %.2f CPU-s/GB\n", l.name, base.rate, base.cost, over.rate, over.cost)
		rate, cost = append(rate, over.rate/base.rate), append(cost, over.cost/base.cost)
	}
	b.add(l.name, median(rate), "x", "of bare wireguard-go")
	b.add(l.name+": CPU a byte", median(cost), "x", "of bare wireguard-go")
	return nil
}

// peaks tells the most memory that the larger end of each tunnel ever held.
func (b *bench) peaks(prefix string, bare, ours tunnel) error {
	for _, t := range []struct {
		name string
		ends [2]int
	}{{"bare wireguard-go", bare.ends}, {"meshd", ours.ends}} {
		var most float64
		for _, pid := range t.ends {
			mb, err := residentMB(pid, "VmHWM")
			if err != nil {
				return err
			}
			most = max(most, mb)
		}
		b.add(prefix+"memory at most under these loads: "+t.name, most, "MB", "the larger end")
	}
	return nil
}
