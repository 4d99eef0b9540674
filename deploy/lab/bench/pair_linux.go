package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// pair is two public hosts and a hub on veth links, with a mesh and, beside it,
// a plain WireGuard tunnel between the two. A third host may join to relay.
type pair struct {
	lab  *lab.Lab
	hub  *mesh.Hub
	a, b *mesh.Agent

	c      *mesh.Agent
	joined bool // c has been a member
}

var (
	addrA = netip.MustParseAddr("198.51.100.1")
	addrB = netip.MustParseAddr("198.51.100.2")
	addrC = netip.MustParseAddr("198.51.100.3")
)

// tunnel is one way from a to b: an address of b's, and the processes at both
// ends that carry what is sent to it.
type tunnel struct {
	addr string
	ends [2]int
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
	third, err := p.lab.Public("c", lab.Delay{}, addrC)
	if err != nil {
		return err
	}
	p.c = mesh.NewAgent(third, b.meshd)
	return p.a.AwaitPing(b.ctx, 10*time.Second, "b")
}

// mesh is the way between the two that meshd keeps.
func (p *pair) mesh(b *bench) (t tunnel, err error) {
	if t.addr, err = p.a.Address(b.ctx, "b"); err != nil {
		return t, err
	}
	for i, agent := range []*mesh.Agent{p.a, p.b} {
		if t.ends[i], err = agent.PID(); err != nil {
			return t, err
		}
	}
	return t, nil
}

// plainAddr is b's address in a plain tunnel.
const plainAddr = "10.99.0.2"

// plain sets bare wireguard-go up between the two hosts.
func (p *pair) plain(b *bench) (t tunnel, err error) {
	if err := p.plainBy(b, b.plain+" wg0", addrA, addrB); err != nil {
		return t, err
	}
	for i, h := range []*mesh.Agent{p.a, p.b} {
		if t.ends[i], err = h.Host.Process("wireguard-go"); err != nil {
			return t, err
		}
	}
	t.addr = plainAddr
	return t, nil
}

// plainBy sets a WireGuard up between the two hosts, which have these addresses. A
// command makes its interface, wg0.
func (p *pair) plainBy(b *bench, command string, addrA, addrB netip.Addr) error {
	keys := make(map[*mesh.Agent][2]string)
	for _, h := range []*mesh.Agent{p.a, p.b} {
		out, err := h.Host.Run(b.ctx, "sh", "-c", "mkdir -p /run/wireguard; "+command+" >/dev/null 2>&1; k=$(wg genkey); echo $k; echo $k | wg pubkey")
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
	}{{p.a, p.b, "10.99.0.1", addrB}, {p.b, p.a, plainAddr, addrA}} {
		script := fmt.Sprintf("echo %s | wg set wg0 listen-port 51820 private-key /dev/stdin peer %s endpoint %s:51820 allowed-ips 10.99.0.0/24\nip addr add %s/24 dev wg0\nip link set wg0 mtu 1420 up",
			keys[e.self][0], keys[e.peer][1], e.to, e.addr)
		if err := e.self.Host.Shell(script); err != nil {
			return err
		}
	}
	return nil
}
