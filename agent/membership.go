package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"meshd/agent/localapi"
	"meshd/coordinator/api"
	meshdv1 "meshd/coordinator/api/meshd/v1"
)

// wish makes the mesh of a join string wanted. A member of that mesh joins again
// only if it has something to gain: its approval, or another way to the hub. So
// a command may be said twice.
func (l *loop) wish(ctx context.Context, j api.JoinString, hostname string) error {
	wanted := &hub{Hosts: j.Hosts, Port: j.Port, Pin: j.Pin}
	switch have := l.state.Hub; {
	case have == nil || l.state.Removed:
		if err := l.rehearse(); err != nil {
			return explain(err)
		}
		l.phase, l.failure = localapi.Joining, nil
	case have.same(wanted) && !l.state.Pending:
		return nil
	case have.Pin != wanted.Pin:
		return localapi.WithHint(fmt.Errorf("this machine is in the mesh of %s already, and the join string is for %s", have, wanted),
			"join a second mesh besides with --mesh NAME")
	}
	key := l.private.public()
	l.connect(ctx, wanted, &meshdv1.JoinRequest{
		WireguardKey: key[:], Hostname: hostname, Secret: j.Secret[:], Version: l.cfg.Version,
	})
	return nil
}

// connect starts to talk to a hub, joining first if there is something to join by.
func (l *loop) connect(ctx context.Context, h *hub, join *meshdv1.JoinRequest) {
	l.follow.stop()
	l.asked, l.joining, l.linked, l.since, l.hubErr = h, join != nil, false, time.Now(), nil
	l.control = &control{
		client: api.Dial(api.ClientConfig{Hosts: h.Hosts, Port: h.Port, Pin: h.Pin, Identity: l.identity, DialContext: l.dialHub}),
		join:   join, identity: l.identity.Public(), key: l.private.public(), version: l.cfg.Version, log: l.log,
		local: l.local, services: l.services, kick: make(chan struct{}, 1), events: l.events,
	}
	if key := l.private.public(); join == nil && l.state.Key != key {
		l.control.newKey = &key
	}
	l.follow = start(ctx, l.control.run)
}

// up handles a wish from the local API.
func (l *loop) up(ctx context.Context, req upRequest) error {
	switch {
	case req.join != nil:
		if err := l.wish(ctx, *req.join, req.hostname); err != nil {
			req.done <- err
			return nil
		}
	case l.state.Hub == nil:
		req.done <- localapi.WithHint(errors.New("this machine has not joined a mesh yet"),
			"`meshd coordinator key create` on the server prints what to say: meshd up JOIN")
		return nil
	case l.state.Removed:
		req.done <- errRemoved(l.state.Hub)
		return nil
	}
	if l.joining && l.hubErr == nil {
		l.waiters = append(l.waiters, req.done)
		return nil
	}
	err := l.again(ctx)
	l.show()
	if l.phase == localapi.Failed {
		req.done <- l.failure
	}
	close(req.done)
	return err
}

// answer tells everybody who waits for the hub's word. Who hears it must find
// the status to match.
func (l *loop) answer(err error) {
	l.show()
	for _, w := range l.waiters {
		w <- err
	}
	l.waiters = nil
}

// react takes one event of the control connection.
func (l *loop) react(ctx context.Context, e event) error {
	switch e := e.(type) {
	case admitted:
		l.admitted(e)
	case rekeyed:
		l.state.Key = l.private.public()
		l.saveState()
	case refused:
		return l.refused(ctx, e.err)
	case pending:
		l.connected(ctx)
		l.pend(e.name)
	case mapped:
		l.connected(ctx)
		l.seedClock(e.offset)
		first := l.netmap == nil
		err := l.adopt(ctx, e.netmap)
		l.mapChanged(first) // after all that somebody waits for
		return err
	case lost:
		l.lost(e.err)
	case removed:
		l.expel()
	case sought:
		l.want(e.by)
	case settled:
		l.settle(e)
	}
	return nil
}

func (l *loop) admitted(e admitted) {
	l.state.Hub, l.state.Removed, l.state.Pending, l.state.Key = l.asked, false, e.pending, l.private.public()
	l.name, l.joining = e.name, false
	l.saveState()
	l.log.Info("joined", "hub", l.asked, "name", e.name, "pending", e.pending)
	if l.plane == nil {
		l.phase = localapi.Starting
	}
	if e.pending {
		l.phase = localapi.Pending
	}
	l.answer(nil)
}

// refused ends an attempt to join. Who is a member none the less goes on as one.
func (l *loop) refused(ctx context.Context, err error) error {
	if l.state.Hub != nil && !l.state.Removed {
		l.log.Warn("join refused", "hub", l.asked, "err", err)
		l.connect(ctx, l.state.Hub, nil)
		l.answer(explain(err))
		return nil
	}
	l.control, l.joining = nil, false
	end := l.fail(explain(err))
	l.answer(l.failure)
	return end
}

// pend waits for the owner: before the approval, or after it was withdrawn.
func (l *loop) pend(name string) {
	l.name = name
	if l.phase == localapi.Pending && l.plane == nil && l.state.Pending {
		return
	}
	l.log.Info("waiting for approval", "hub", l.asked)
	l.forget()
	l.phase, l.failure, l.state.Pending = localapi.Pending, nil, true
	l.saveState()
}

// expel leaves the mesh as its owner wants. Keys stay, for another join.
func (l *loop) expel() {
	l.forget()
	l.control, l.linked, l.joining = nil, false, false
	l.state.Removed, l.state.Pending = true, false
	l.phase, l.failure = localapi.Failed, errRemoved(l.state.Hub)
	l.log.Error("removed from the mesh", "hub", l.state.Hub)
	l.saveState()
	l.answer(l.failure)
}

// forget takes the mesh down and its map off the disk.
func (l *loop) forget() {
	l.lower()
	l.netmap, l.relays, l.unsaved = nil, nil, false
	l.save.Stop()
	if err := l.folder.dropMap(); err != nil {
		l.log.Warn("map not removed", "err", err)
	}
}

func errRemoved(h *hub) *localapi.Error {
	return &localapi.Error{Message: fmt.Sprintf("this machine was removed from the mesh of %s by its owner", h),
		Hint: "ask for a new join string, and join again: meshd up JOIN"}
}

// connected notes that the stream is up. The hub may be somewhere else than it
// was, so its relay is looked up again.
func (l *loop) connected(ctx context.Context) {
	if l.linked {
		return
	}
	l.linked, l.heard, l.since, l.hubErr = true, true, time.Now(), nil
	l.log.Info("coordinator connected", "addr", l.control.client.Host())
	l.resolve(ctx)
}

func (l *loop) lost(err error) {
	first := l.hubErr == nil
	if l.linked {
		l.linked, l.since = false, time.Now()
	}
	l.hubErr = err
	if first {
		l.log.Warn("coordinator away", "hub", l.asked, "err", explain(err).Message)
		l.answer(nil)
	}
}
