package agent

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"syscall"

	"meshd/agent/localapi"
	"meshd/agent/tunnel"
	"meshd/punch"
	"meshd/punch/udp"
)

// newDataPath makes the paths and the tunnel over them. Where nobody asked for the
// kernel's WireGuard and it fails none the less, user space does it.
func (l *loop) newDataPath(dial dialer) (Puncher, tunnel.Tunnel, error) {
	// What a daemon that was killed left behind has our port, where peers find us
	// without the hub.
	if err := tunnel.CleanUp(l.private.bytes, l.log); err != nil {
		l.log.Warn("interfaces left behind not looked for", "err", err)
	}
	backend, err := l.cfg.ChooseBackend(l.cfg.Backend)
	if err != nil {
		return nil, nil, err
	}
	p, t, err := l.tryBackend(backend, dial)
	if err != nil && backend == tunnel.Kernel && l.cfg.Backend != tunnel.Kernel {
		l.log.Warn("kernel's WireGuard not used", "err", err)
		return l.tryBackend(tunnel.Userspace, dial)
	}
	return p, t, err
}

func (l *loop) tryBackend(backend string, dial dialer) (Puncher, tunnel.Tunnel, error) {
	p, err := l.newPuncher(backend, dial)
	if err != nil {
		return nil, nil, err
	}
	t, err := l.newTunnel(backend, p)
	return p, t, err
}

// newTunnel takes over p, and closes it on error.
func (l *loop) newTunnel(backend string, p Puncher) (tunnel.Tunnel, error) {
	t, err := l.cfg.NewTunnel(tunnel.Config{
		Interface: l.cfg.Interface, PrivateKey: l.private.bytes, Transport: p, Backend: backend, Port: l.state.Port, Mark: l.state.mark(),
		Inbound: l.state.inbound(), Log: l.log,
	})
	if err != nil {
		p.Close()
		return nil, err
	}
	return t, nil
}

// newPuncher opens the UDP port: the one asked for, or the one of last time, or
// another if that is taken.
func (l *loop) newPuncher(backend string, dial dialer) (Puncher, error) {
	if l.cfg.Port != 0 {
		p, err := l.tryPort(l.cfg.Port, backend, dial)
		if errors.Is(err, syscall.EADDRINUSE) {
			err = localapi.WithHint(err, "another program has this UDP port: name another with --port, or none")
		}
		if err == nil {
			l.keepPort(l.cfg.Port)
		}
		return p, err
	}
	for attempt := 0; ; attempt++ {
		port := l.state.Port
		if port == 0 || attempt > 0 {
			port = randomPort()
		}
		p, err := l.tryPort(port, backend, dial)
		if errors.Is(err, syscall.EADDRINUSE) && attempt < 10 {
			l.log.Warn("udp port taken, trying another", "port", port)
			continue
		}
		if err == nil {
			l.keepPort(port)
		}
		return p, err
	}
}

// keepPort makes port the one of later starts: gateways may forward it.
func (l *loop) keepPort(port uint16) {
	if port != l.state.Port {
		l.state.Port = port
		l.saveState()
	}
}

// randomPort is outside of the range from which systems pick ports for
// outgoing connections (32768 and up on Linux), so it is free at the next start.
func randomPort() uint16 { return 20000 + rand.N[uint16](12000) }

func (l *loop) tryPort(port uint16, backend string, dial dialer) (Puncher, error) {
	l.lookMetered()
	relaying := l.state.relaying()
	c := punch.Config{
		PrivateKey:    l.private.bytes,
		Port:          port,
		Interfaces:    l.cfg.Host.Addresses,
		Advertise:     l.state.Advertise,
		Publish:       l.local.set,
		Offer:         relaying.Offer,
		HubOnly:       relaying.HubOnly,
		BirthdayRate:  l.state.searchRate(),
		Metered:       l.metered.Load,
		Mark:          l.state.mark(),
		ClockOffset:   l.state.ClockOffset,
		DialWebSocket: dial,
		Log:           l.log,
	}
	if backend == tunnel.Kernel {
		c.ListenPort = listenBesideKernel(c.Mark)
	}
	return l.cfg.NewPuncher(c)
}

// listenBesideKernel opens sockets for a port that the kernel's WireGuard will have.
func listenBesideKernel(mark uint32) func(netip.AddrPort) (punch.Socket, error) {
	return func(addr netip.AddrPort) (punch.Socket, error) {
		c, err := udp.ListenRaw(udp.Config{Addr: addr, Mark: mark, Whole: true})
		if err != nil {
			return nil, err // not c, which would be a nil of some type
		}
		return c, nil
	}
}
