package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// pair is two public hosts and a hub on veth links, with a mesh and, beside it,
// a plain WireGuard tunnel between the two.
type pair struct {
	lab  *lab.Lab
	hub  *mesh.Hub
	a, b *mesh.Agent
}

var (
	addrA = netip.MustParseAddr("198.51.100.1")
	addrB = netip.MustParseAddr("198.51.100.2")
)

const rounds = 3

// throughput compares TCP through the direct path and through the hub's relay
// with bare wireguard-go.
func (b *bench) throughput() error {
	p, err := b.newPair()
	if err != nil {
		return err
	}
	defer p.lab.Close()
	if err := p.plainTunnel(b); err != nil {
		return err
	}
	meshAddr, err := p.a.Address(b.ctx, "b")
	if err != nil {
		return err
	}
	var direct, reverse, relay []float64
	for range rounds {
		plain, err := p.iperf(b, "10.99.0.2")
		if err != nil {
			return err
		}
		plainBack, err := p.iperf(b, "10.99.0.2", "-R")
		if err != nil {
			return err
		}
		if err := p.a.AwaitPath(b.ctx, 30*time.Second, "b", "direct"); err != nil {
			return err
		}
		over, err := p.iperf(b, meshAddr)
		if err != nil {
			return err
		}
		back, err := p.iperf(b, meshAddr, "-R")
		if err != nil {
			return err
		}
		relayed, err := p.relayed(b, meshAddr)
		if err != nil {
			return fmt.Errorf("by relay: %w\n%s", err, p.a.Log())
		}
		fmt.Printf("  round: bare %.2f / %.2f  direct %.2f / %.2f  relay %.2f Gbit/s\n", plain, plainBack, over, back, relayed)
		direct, reverse, relay = append(direct, over/plain), append(reverse, back/plainBack), append(relay, relayed/over)
	}
	b.add("TCP direct, one stream", median(direct), "x", "of bare wireguard-go")
	b.add("TCP direct, reverse", median(reverse), "x", "of bare wireguard-go")
	b.add("TCP by the hub's UDP relay", median(relay), "x", "of direct")
	return nil
}

func (b *bench) newPair() (*pair, error) {
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	p := &pair{lab: l}
	if err := p.build(b); err != nil {
		l.Close()
		return nil, err
	}
	return p, nil
}

func (p *pair) build(b *bench) error {
	hub, err := p.lab.Public("hub", lab.Delay{}, mesh.HubAddr)
	if err != nil {
		return err
	}
	p.hub = mesh.NewHub(hub, b.meshd)
	if err := p.hub.Start(b.ctx); err != nil {
		return err
	}
	for _, h := range []struct {
		name  string
		addr  netip.Addr
		agent **mesh.Agent
	}{{"a", addrA, &p.a}, {"b", addrB, &p.b}} {
		host, err := p.lab.Public(h.name, lab.Delay{}, h.addr)
		if err != nil {
			return err
		}
		*h.agent = mesh.NewAgent(host, b.meshd)
		key, err := p.hub.Join(b.ctx, "--approved")
		if err != nil {
			return err
		}
		if _, err := (*h.agent).Up(b.ctx, key); err != nil {
			return err
		}
	}
	return p.a.AwaitPing(b.ctx, 10*time.Second, "b")
}

// plainTunnel sets bare wireguard-go up between the two hosts.
func (p *pair) plainTunnel(b *bench) error {
	keys := make(map[*mesh.Agent][2]string)
	for _, h := range []*mesh.Agent{p.a, p.b} {
		out, err := h.Host.Run(b.ctx, "sh", "-c", "mkdir -p /run/wireguard; "+b.plain+" wg0 >/dev/null 2>&1; k=$(wg genkey); echo $k; echo $k | wg pubkey")
		if err != nil {
			return err
		}
		k := strings.Fields(out)
		keys[h] = [2]string{k[0], k[1]}
	}
	for _, e := range []struct {
		self, peer *mesh.Agent
		addr       string
		to         netip.Addr
	}{{p.a, p.b, "10.99.0.1", addrB}, {p.b, p.a, "10.99.0.2", addrA}} {
		script := fmt.Sprintf("echo %s | wg set wg0 listen-port 51820 private-key /dev/stdin peer %s endpoint %s:51820 allowed-ips 10.99.0.0/24\nip addr add %s/24 dev wg0\nip link set wg0 mtu 1420 up",
			keys[e.self][0], keys[e.peer][1], e.to, e.addr)
		if err := e.self.Host.Shell(script); err != nil {
			return err
		}
	}
	return nil
}

// relayed cuts the direct way for one measurement.
func (p *pair) relayed(b *bench, addr string) (float64, error) {
	if err := p.lab.Cut(addrA, addrB); err != nil {
		return 0, err
	}
	// Traffic is what shows that a path is dead.
	if err := p.a.AwaitPing(b.ctx, 10*time.Second, "b"); err != nil {
		return 0, err
	}
	if err := p.a.AwaitPath(b.ctx, 60*time.Second, "b", "relay"); err != nil {
		return 0, err
	}
	rate, err := p.iperf(b, addr)
	if err != nil {
		return 0, err
	}
	return rate, p.lab.Heal(addrA, addrB)
}

// iperf measures TCP from a to an address of b for three seconds, in Gbit/s received.
func (p *pair) iperf(b *bench, addr string, args ...string) (float64, error) {
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
	server := p.b.Host.Command(ctx, "iperf3", "-s", "-B", addr)
	if err := server.Start(); err != nil {
		cancel()
		return 0, err
	}
	defer server.Wait() // killed by then
	defer cancel()
	var rate float64
	err := mesh.Await(ctx, 15*time.Second, func() error {
		out, err := p.a.Host.Run(ctx, "iperf3", append([]string{"-c", addr, "-t", "3", "-J"}, args...)...)
		if err != nil {
			return err
		}
		rate, err = received(out)
		if err == nil && rate == 0 {
			return errors.New("iperf3 ended at once and moved nothing") // now and then it does, over any tunnel
		}
		return err
	})
	return rate, err
}

// received reads iperf3's JSON.
func received(out string) (float64, error) {
	var doc struct {
		End struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		return 0, fmt.Errorf("read iperf3's result: %w", err)
	}
	return doc.End.Received.BitsPerSecond / 1e9, nil
}
