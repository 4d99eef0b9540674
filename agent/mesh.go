package agent

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"meshd/agent/localapi"
	"meshd/agent/netcfg"
)

// retryDelay is when a mesh that could not be brought up is tried again.
const retryDelay = 10 * time.Second

// adopt makes m the mesh.
func (l *loop) adopt(ctx context.Context, m *Netmap) error {
	changes := Diff(l.netmap, m)
	first := l.netmap == nil
	l.netmap = m
	if l.state.Pending {
		l.state.Pending = false
		l.saveState()
	}
	if first || touches(changes).has(partRelay) {
		l.resolve(ctx)
	}
	switch {
	case l.plane == nil && l.phase == localapi.Failed && !touches(changes).has(partHost):
		return nil // nothing that would help; the retry runs
	case l.plane == nil:
		return l.raise(ctx)
	}
	logChanges(l.log, changes)
	touched := touches(changes)
	if touched.has(partHost) { // the mesh moved: maybe to where this host has something else
		if err := overlap(l.cfg.Host, m.Mesh.Prefixes, l.cfg.Interface); err != nil {
			l.lower()
			return l.fail(explain(err))
		}
	}
	if l.plane.blind {
		l.plane.blind = false
		touched |= partPunch | partTunnel
	}
	l.owe(l.plane.apply(m, l.relays, touched))
	l.plane.names.take(m, l.plane.punch.Status().Local, l.offered)
	l.plane.lan.take(m)
	l.republished() // another member may have taken a name, or left it
	return nil
}

// raise brings the mesh up, or says why it can't be.
func (l *loop) raise(ctx context.Context) error {
	if err := overlap(l.cfg.Host, l.netmap.Mesh.Prefixes, l.cfg.Interface); err != nil {
		return l.fail(explain(err))
	}
	l.phase, l.failure = localapi.Starting, nil
	l.show()
	p, err := l.newPlane(ctx)
	if err != nil {
		return l.fail(explain(err))
	}
	l.plane, l.phase, l.said = p, localapi.Running, ""
	l.log.Info("mesh up", "name", l.netmap.Self.Name, "addr", l.netmap.Self.Addresses, "iface", p.tunnel.Name(), "peers", len(l.netmap.Peers))
	return nil
}

// lower takes the mesh down.
func (l *loop) lower() {
	l.retry.Stop()
	if l.plane == nil {
		return
	}
	l.learnClock()
	l.plane.close()
	l.plane = nil
	l.log.Info("mesh down")
}

// fail notes why there is no mesh, and tries again later where that may help.
func (l *loop) fail(why *localapi.Error) error {
	level := slog.LevelError
	if why.Message == l.said {
		level = slog.LevelDebug
	}
	l.said = why.Message
	l.log.Log(context.Background(), level, "mesh not up", "err", why.Message, "hint", why.Hint)
	l.phase, l.failure = localapi.Failed, why
	if l.cfg.ExitOnFailure {
		return why
	}
	l.retry.Reset(retryDelay)
	return nil
}

// again does what could not be done before.
func (l *loop) again(ctx context.Context) error {
	switch {
	case l.netmap == nil:
		return nil
	case l.plane == nil:
		return l.raise(ctx)
	}
	l.owe(l.plane.apply(l.netmap, l.relays, 0))
	return nil
}

// owe has what could not be applied tried again.
func (l *loop) owe(err error) {
	l.retry.Stop()
	if err != nil {
		l.log.Warn("map not applied in full", "err", err)
		l.retry.Reset(retryDelay)
	}
}

// rebuild replaces a plane that died under us: its interface was deleted, or
// its sockets broke.
func (l *loop) rebuild(ctx context.Context) error {
	l.log.Warn("interface lost, making it anew", "iface", l.cfg.Interface)
	l.lower()
	again := time.Since(l.rebuilt) < retryDelay
	l.rebuilt = time.Now()
	if again { // whoever takes it away is at it still
		return l.fail(&localapi.Error{Message: fmt.Sprintf("interface %q was removed", l.cfg.Interface),
			Hint: "see what else manages interfaces on this host"})
	}
	return l.raise(ctx)
}

// noticed is called by the watcher's goroutine.
func (l *loop) noticed(e netcfg.Event) {
	l.log.Info("network changed", "reason", e.Reason, "iface", e.Interface)
	if e.Interface == "" {
		signal(l.moved)
	} else {
		signal(l.marred)
	}
}

// linkChanged tells everybody who holds on to an address of this host.
func (l *loop) linkChanged(ctx context.Context) error {
	if l.control != nil {
		l.control.check()
	}
	l.lookMetered()
	l.meter.Reset(meterDelay)
	if l.plane != nil {
		l.plane.punch.LinkChanged()
		l.plane.mapped.refresh()
		l.plane.names.recheck()
		l.plane.lan.look()
	}
	return l.mend(ctx)
}

// mend puts back what others took from our interface.
func (l *loop) mend(ctx context.Context) error {
	if l.plane != nil {
		l.plane.owed |= partHost
	}
	return l.again(ctx)
}

// pathsChanged takes in what punch has learnt.
func (l *loop) pathsChanged() {
	l.learnClock()
	s := l.plane.punch.Status()
	l.plane.names.take(l.netmap, s.Local, l.offered)
	back, elsewhere := l.plane.hubChanged(s.Hub)
	if back && l.control != nil && !l.linked {
		signal(l.control.kick) // no need to wait for the next attempt's time
	}
	if elsewhere {
		l.plane.mapped.refresh()
	}
	var touched parts
	if l.plane.reached(time.Now(), s.Peers) {
		touched |= partTunnel
		l.warm.Reset(headStart)
	}
	if l.plane.narrowed(s.Peers) {
		touched |= partHost
	}
	if touched != 0 {
		l.owe(l.plane.apply(l.netmap, l.relays, touched))
	}
}

// keepWarm begins with those whom the other end had its head start for.
func (l *loop) keepWarm() {
	if l.plane != nil {
		l.owe(l.plane.apply(l.netmap, l.relays, partTunnel))
	}
}
