package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"meshd/deploy/lab/mesh"
)

// soak sends numbered datagrams both ways through the direct path for as long as
// asked, counts those that did not come, and watches both ends' memory and the
// rekeyings meanwhile.
func (b *bench) soak() error {
	p, err := b.newPair()
	if err != nil {
		return err
	}
	defer p.lab.Close()
	if err := p.a.AwaitPath(b.ctx, 30*time.Second, "b", "direct"); err != nil {
		return err
	}
	t, err := p.mesh(b)
	if err != nil {
		return err
	}
	back, err := p.b.Address(b.ctx, "a")
	if err != nil {
		return err
	}
	type result struct {
		counts
		err error
	}
	ends := []struct {
		name     string
		agent    *mesh.Agent
		from, to string
		result   chan result
	}{{"a", p.a, back, t.addr, make(chan result, 1)}, {"b", p.b, t.addr, back, make(chan result, 1)}}
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	for _, e := range ends {
		go func() {
			c, err := b.exchangeOn(ctx, e.agent, e.from, e.to)
			e.result <- result{c, err}
		}()
	}
	watched := b.watchSoak(p, t)
	if watched != nil {
		cancel()
	}
	var got [2]counts
	for i, e := range ends {
		r := <-e.result
		watched = errors.Join(watched, r.err)
		got[i] = r.counts
	}
	if watched != nil {
		return watched
	}
	for i, e := range ends {
		other := got[1-i]
		b.add("soak: packets sent by "+e.name, float64(got[i].Sent), "packets", fmt.Sprintf("%d B each, %v", soakSize, b.duration))
		b.add("soak: of these lost", float64(got[i].Sent-other.Received), "packets", fmt.Sprintf("%d out of order, %d twice; lost: %v", other.Late, other.Twice, other.Missing))
	}
	return nil
}

// exchangeOn runs exchange on an agent's host.
func (b *bench) exchangeOn(ctx context.Context, a *mesh.Agent, from, to string) (c counts, err error) {
	self, err := os.Executable()
	if err != nil {
		return c, err
	}
	out, err := a.Host.Run(ctx, self, "-soak", b.duration.String(), "-exchange", from, to)
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal([]byte(out), &c)
}

// watchSoak looks at both ends until the time is over.
func (b *bench) watchSoak(p *pair, t tunnel) error {
	var (
		begun  = time.Now()
		hands  = make(map[time.Time]bool) // handshakes seen
		first  [2]float64
		paths  = make(map[time.Time]bool)
		minute = begun
	)
	for time.Since(begun) < b.duration {
		peer, err := p.a.Peer(b.ctx, "b")
		if err != nil {
			return err
		}
		hands[peer.LastHandshake], paths[peer.Since] = true, true
		if !time.Now().Before(minute) {
			minute = minute.Add(time.Minute)
			now, err := resident(t)
			if err != nil {
				return err
			}
			if first == [2]float64{} {
				first = now
			}
			fmt.Printf("  %5.0f s: resident %.1f and %.1f MB, handshakes %d\n", time.Since(begun).Seconds(), now[0], now[1], len(hands))
		}
		if err := b.sleep(5 * time.Second); err != nil {
			return err
		}
	}
	last, err := resident(t)
	if err != nil {
		return err
	}
	b.add("soak: rekeyings", float64(len(hands)-1), "", "")
	b.add("soak: changes of path", float64(len(paths)-1), "", "")
	for i, name := range []string{"a", "b"} {
		most, err := residentMB(t.ends[i], "VmHWM")
		if err != nil {
			return err
		}
		b.add("soak: resident at the end, "+name, last[i], "MB", fmt.Sprintf("%.1f at the beginning, %.1f at most", first[i], most))
	}
	return nil
}

// resident is what the two ends hold now.
func resident(t tunnel) (mb [2]float64, err error) {
	for i, pid := range t.ends {
		if mb[i], err = residentMB(pid, "VmRSS"); err != nil {
			return mb, err
		}
	}
	return mb, nil
}
