package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"meshd/coordinator/api"
	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/punch"
	"meshd/punch/wire"
)

const (
	callTimeout = 15 * time.Second // to join: several hosts may have to be tried
	// publishTimeout is short because a publication also asks whether the
	// connection lives after the host's network changed.
	publishTimeout = 4 * time.Second
	// silence is how long the hub, which speaks every 20 s, may be quiet.
	silence = 45 * time.Second
	// goodbyeTimeout is how long the end of the daemon may wait for the hub.
	goodbyeTimeout = 500 * time.Millisecond
)

// event is one thing that the control connection tells the loop.
type event interface{ isEvent() }

type (
	// admitted: the hub took the join string.
	admitted struct {
		name    string // as the hub gave it
		pending bool
	}
	// rekeyed: the hub took the new WireGuard key.
	rekeyed struct{}
	// refused: the hub did not, and asking again would not help.
	refused struct{ err error }
	// pending: the stream is up, the owner's approval is missing.
	pending struct{ name string }
	// mapped: the stream is up, and this is the mesh now.
	mapped struct {
		netmap *Netmap
		offset time.Duration // the hub's clock minus ours, late by the way of the message
	}
	// sought: members ask where this one is, in order to reach it.
	sought struct{ by []wire.RelayID }
	// lost: the stream broke; the next attempt follows.
	lost struct{ err error }
	// removed: the hub knows this identity no more.
	removed struct{}
)

func (admitted) isEvent() {}
func (rekeyed) isEvent()  {}
func (refused) isEvent()  {}
func (pending) isEvent()  {}
func (mapped) isEvent()   {}
func (sought) isEvent()   {}
func (lost) isEvent()     {}
func (removed) isEvent()  {}

// control keeps the connection to the hub: it joins if it has to, follows the
// map stream, and publishes. Whatever becomes of it, the mesh stays up.
type control struct {
	client   *api.Client
	join     *meshdv1.JoinRequest // nil: a member already
	newKey   *Key                 // the hub does not know this key yet; nil: it does
	identity []byte               // own public keys: Ed25519
	key      Key                  // and WireGuard's
	version  string
	log      *slog.Logger
	local    *latest[punch.Local] // what to publish; its wake is for both
	services *latest[announced]
	netmap   atomic.Pointer[Netmap] // as last heard; nil: no member yet
	kick     chan struct{}          // capacity 1: do not wait, try now
	events   chan<- event

	known *announced // what the hub has taken on this connection; the publisher's
}

// run works until ctx ends or the hub refuses; it reports everything by events.
func (c *control) run(ctx context.Context) error {
	defer c.client.CloseIdle()
	var wait backoff
	for ctx.Err() == nil {
		up, err := c.attempt(ctx)
		if err := final(err); err != nil {
			c.tell(ctx, err)
			return nil
		}
		c.tell(ctx, lost{err})
		c.client.CloseIdle()
		if up {
			wait.reset()
		}
		c.pause(ctx, &wait)
	}
	return nil
}

// attempt is one connection, from its making to its end. It reports whether the
// stream was up.
func (c *control) attempt(ctx context.Context) (up bool, err error) {
	if err := c.admit(ctx); err != nil {
		return false, err
	}
	return c.follow(ctx)
}

// pause waits for the next attempt's time, or for a reason to make it now.
func (c *control) pause(ctx context.Context, wait *backoff) {
	timer := time.NewTimer(wait.next())
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.kick:
		wait.reset()
	case <-ctx.Done():
	}
}

func (c *control) tell(ctx context.Context, e event) {
	select {
	case c.events <- e:
	case <-ctx.Done():
	}
}

// admit does, once, what has to come before the stream.
func (c *control) admit(ctx context.Context) error {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	switch {
	case c.join != nil:
		resp, err := c.client.Control.Join(call, c.join)
		if err != nil {
			return &joinError{err}
		}
		c.join, c.newKey = nil, nil
		c.tell(ctx, admitted{resp.GetName(), resp.GetPending()})
	case c.newKey != nil:
		if _, err := c.client.Control.RotateKey(call, &meshdv1.RotateKeyRequest{WireguardKey: c.newKey[:]}); err != nil {
			return err
		}
		c.newKey = nil
		c.tell(ctx, rekeyed{})
	}
	return nil
}

// follow reads the map stream until it ends, which is always an error.
func (c *control) follow(ctx context.Context) (up bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(callTimeout, func() { cancel(errors.New("the coordinator fell silent")) })
	defer quiet.Stop()

	stream, err := c.client.Control.Map(ctx, &meshdv1.MapRequest{Version: c.version})
	if err != nil {
		return false, because(ctx, err)
	}
	var netmap *Netmap
	var publisher *task
	c.known = nil
	defer func() {
		cancel(nil) // before Close, which would wait for the rest of the stream
		publisher.stop()
		stream.Close()
	}()
	for stream.Receive() {
		quiet.Reset(silence)
		if publisher == nil {
			publisher = start(ctx, func(ctx context.Context) error { return c.publish(ctx, cancel) })
		}
		if netmap, err = c.hear(ctx, netmap, stream.Msg()); err != nil {
			return false, err
		}
	}
	return publisher != nil, because(ctx, stream.Err())
}

// because prefers the reason for which we ended a call to what the call says.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err == nil {
		return errors.New("the coordinator ended the stream")
	}
	return err
}

// hear takes one message and tells the loop what it means. A map that can't be
// used ends the connection: the next one starts with a full map.
func (c *control) hear(ctx context.Context, netmap *Netmap, msg *meshdv1.MapResponse) (*Netmap, error) {
	if self := msg.GetSelf(); self.GetPending() {
		c.netmap.Store(nil)
		c.tell(ctx, pending{self.GetName()})
		return nil, nil
	}
	if ids := msg.GetPunch(); len(ids) > 0 {
		by := make([]wire.RelayID, len(ids))
		for i, id := range ids {
			by[i] = wire.RelayID(id)
		}
		c.tell(ctx, sought{by})
	}
	next, err := netmap.Apply(msg)
	if err != nil {
		return nil, fmt.Errorf("the coordinator sent a map that cannot be used: %w", err)
	}
	if next != netmap {
		c.netmap.Store(next)
		if netmap == nil || netmap.Self.Name != next.Self.Name || netmap.Self.RelayKey != next.Self.RelayKey {
			c.local.poke() // there is a key to sign by now, or another
		}
		c.tell(ctx, mapped{next, time.Until(time.UnixMilli(msg.GetHubTimeUnixMs()))})
	}
	return next, nil
}

// check makes sure, after the host's network changed, that the connection lives:
// it is asked something if there is one, and made now if there is none.
func (c *control) check() {
	signal(c.kick)
	c.local.poke()
}

// joinError tells a refused join from a lost membership.
type joinError struct{ err error }

func (e *joinError) Error() string { return e.err.Error() }
func (e *joinError) Unwrap() error { return e.err }

// final returns the event for an error that another attempt would not cure, or
// nil. A member tries on forever, unless the hub itself says it is none: the
// network between may be lying, the pinned hub is not.
func final(err error) event {
	code := connect.CodeOf(err)
	if joining, ok := errors.AsType[*joinError](err); ok {
		if isRefusal(joining.err) {
			return refused{joining.err}
		}
		return nil
	}
	if connect.IsWireError(err) && code == connect.CodeUnauthenticated {
		return removed{}
	}
	return nil
}

func isRefusal(err error) bool {
	if _, ok := errors.AsType[*api.PinError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*api.NotCoordinatorError](err); ok {
		return true
	}
	if !connect.IsWireError(err) {
		return false
	}
	switch connect.CodeOf(err) {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeAborted, connect.CodeInternal, connect.CodeUnknown:
		return false // the hub is unwell, not unwilling
	}
	return true
}
