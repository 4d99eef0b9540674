package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"meshd/deploy/lab/mesh"
)

// relays compares the ways by relay with the direct path.
func (b *bench) relays() error {
	p, err := b.newPair()
	if err != nil {
		return err
	}
	defer p.lab.Close()
	for _, way := range []struct {
		name, path   string
		enter, leave func(*bench) error
		relay        func() (int, error)
	}{
		{"the hub's UDP relay", "relay", p.cut, p.heal, p.hub.PID},
		{"the hub's TLS relay", "tls", p.block, p.unblock, p.hub.PID},
		{"a member", "relay", p.offer, p.withdraw, p.c.PID},
	} {
		if err := b.relayed(p, way.name, way.path, way.enter, way.leave, way.relay); err != nil {
			return fmt.Errorf("by %s: %w", way.name, err)
		}
	}
	return nil
}

// relayed measures one way, with the direct path in turns. What relaying costs is what
// all that carry packets spend on a byte more than when it goes directly, since the
// kernel may relay, which is charged to the ends or to itself.
func (b *bench) relayed(p *pair, name, path string, enter, leave func(*bench) error, relay func() (int, error)) error {
	var rate, share, gbits []float64
	kernel, err := softirqd()
	if err != nil {
		return err
	}
	for range rounds {
		if err := p.b.AwaitPath(b.ctx, 90*time.Second, "a", "direct"); err != nil {
			return err
		}
		t, err := p.mesh(b)
		if err != nil {
			return err
		}
		ends := t.ends[:]
		direct, cost, err := p.runGroups(b, t, oneStream, ends, slices.Concat(ends, kernel))
		if err != nil {
			return err
		}
		if err := enter(b); err != nil {
			return err
		}
		// Traffic is what shows that a path is dead.
		if err := p.b.AwaitPing(b.ctx, 20*time.Second, "a"); err != nil {
			return err
		}
		if err := p.b.AwaitPath(b.ctx, 60*time.Second, "a", path); err != nil {
			return err
		}
		pid, err := relay()
		if err != nil {
			return err
		}
		over, costs, err := p.runGroups(b, t, oneStream, []int{pid}, slices.Concat(ends, kernel, []int{pid}))
		if err != nil {
			return errors.Join(err, leave(b))
		}
		end, more := cost[0]/2, costs[1]-cost[1]
		fmt.Printf("  by %s: direct %.2f Gbit/s, %.2f CPU-s/GB at each end; relayed %.2f Gbit/s, %.2f CPU-s/GB more, %.2f in the relay's process\n",
			name, direct, end, over, more, costs[0])
		rate, share = append(rate, over/direct), append(share, more/end)
		gbits = append(gbits, over)
		if err := leave(b); err != nil {
			return err
		}
	}
	b.add("TCP by "+name, median(rate), "x", fmt.Sprintf("of direct; %.2f Gbit/s", median(gbits)))
	b.add("TCP by "+name+": CPU a byte", median(share), "x", "of one end's when direct")
	return nil
}

func (p *pair) cut(*bench) error  { return p.lab.Cut(addrA, addrB) }
func (p *pair) heal(*bench) error { return p.lab.Heal(addrA, addrB) }

// block leaves b nothing but TCP.
func (p *pair) block(*bench) error {
	return p.b.Host.Shell(`nft -f - <<'END'
table inet bench {
	chain out { type filter hook output priority 0; oifname != "lo" oifname != "meshd0" meta l4proto udp drop; }
}
END`)
}

func (p *pair) unblock(*bench) error { return p.b.Host.Shell("nft delete table inet bench") }

// offer has c relay, and takes away the direct path and a's way to the hub.
func (p *pair) offer(b *bench) error {
	key, err := p.hub.Join(b.ctx, "--approved")
	if err != nil {
		return err
	}
	if !p.joined {
		_, err = p.c.Up(b.ctx, key, "--relay=on")
		p.joined = err == nil
	} else {
		_, err = p.c.Up(b.ctx)
	}
	if err != nil {
		return err
	}
	for _, m := range []*mesh.Agent{p.a, p.b} {
		if err := m.AwaitPath(b.ctx, 20*time.Second, "c", "direct"); err != nil {
			return err
		}
	}
	if err := p.cut(b); err != nil {
		return err
	}
	return p.lab.Cut(addrA, mesh.HubAddr)
}

func (p *pair) withdraw(b *bench) error {
	if err := p.lab.Heal(addrA, mesh.HubAddr); err != nil {
		return err
	}
	if err := p.c.Down(b.ctx); err != nil {
		return err
	}
	return p.heal(b)
}
