package main

import (
	"fmt"
	"net/netip"
	"time"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

const (
	restPeers = 10
	restTime  = 60 * time.Second
)

// rest measures an agent with ten peers that nobody talks through.
func (b *bench) rest() error {
	l, err := lab.New()
	if err != nil {
		return err
	}
	defer l.Close()
	host, err := l.Public("hub", lab.Delay{}, mesh.HubAddr)
	if err != nil {
		return err
	}
	hub := mesh.NewHub(host, b.meshd)
	if err := hub.Start(b.ctx); err != nil {
		return err
	}
	agents, err := b.crowd(l, hub)
	if err != nil {
		return err
	}
	first := agents[0]
	for _, a := range agents[1:] {
		if err := first.AwaitPath(b.ctx, 30*time.Second, a.Host.Name, "direct"); err != nil {
			return err
		}
	}
	return b.watch(l, first)
}

// crowd makes eleven members, each behind a NAT of its own.
func (b *bench) crowd(l *lab.Lab, hub *mesh.Hub) ([]*mesh.Agent, error) {
	key, err := hub.Join(b.ctx, "--approved", "--reusable")
	if err != nil {
		return nil, err
	}
	var agents []*mesh.Agent
	for i := range restPeers + 1 {
		site, err := l.Site(fmt.Sprintf("site%d", i), lab.Gateway{
			Public: restAddr(i), LAN: netip.MustParsePrefix("192.168.1.0/24"), NAT: lab.PortRestricted,
		})
		if err != nil {
			return nil, err
		}
		host, err := site.Host(fmt.Sprintf("host%d", i))
		if err != nil {
			return nil, err
		}
		a := mesh.NewAgent(host, b.meshd)
		if _, err := a.Up(b.ctx, key); err != nil {
			return nil, err
		}
		agents = append(agents, a)
	}
	return agents, nil
}

func restAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, byte(10 + i)}) }

// watch waits for the beginning's bustle to pass and then counts.
func (b *bench) watch(l *lab.Lab, a *mesh.Agent) error {
	if err := b.sleep(20 * time.Second); err != nil {
		return err
	}
	pid, err := a.PID()
	if err != nil {
		return err
	}
	bytes, cpu, err := b.sample(l, pid)
	if err != nil {
		return err
	}
	if err := b.sleep(restTime); err != nil {
		return err
	}
	bytesAfter, cpuAfter, err := b.sample(l, pid)
	if err != nil {
		return err
	}
	rss, err := residentMB(pid, "VmRSS")
	if err != nil {
		return err
	}
	sec := restTime.Seconds()
	b.add("at rest, 10 peers: resident", rss, "MB", "")
	b.add("at rest, 10 peers: CPU", (cpuAfter-cpu).Seconds()/sec*100, "%", "of a core")
	b.add("at rest, 10 peers: traffic", float64(bytesAfter-bytes)*8/1000/sec, "kbit/s", "sent and received, IP bytes in the core")
	return nil
}

func (b *bench) sleep(d time.Duration) error {
	select {
	case <-b.ctx.Done():
		return b.ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// sample reads the bytes to and from the first site, and the process's CPU time.
func (b *bench) sample(l *lab.Lab, pid int) (bytes uint64, cpu time.Duration, err error) {
	flows, err := l.Flows()
	if err != nil {
		return 0, 0, err
	}
	for f, n := range flows {
		if f.From == restAddr(0) || f.To == restAddr(0) {
			bytes += n.Bytes
		}
	}
	cpu, err = cpuTime(pid)
	return bytes, cpu, err
}
