package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"meshd/coordinator/api"
	"meshd/dnssd"
	"meshd/punch"
)

// announced are the services of this host, and those that the hub may know of
// from before, which are withdrawn if they are not among them.
type announced struct {
	services, old []dnssd.Service
}

// settled tells the loop which of the announced services the hub has taken.
type settled struct {
	of    *announced
	taken []dnssd.Service
}

func (settled) isEvent() {}

// publish sends what there is to publish, and again whenever it is told to. If
// the hub can't be reached it cuts the stream that shares its connection.
func (c *control) publish(ctx context.Context, cut context.CancelCauseFunc) error {
	var wait backoff
	for {
		var again <-chan time.Time
		switch err := c.publishOnce(ctx); {
		case err == nil:
			wait.reset()
		case heard(err): // and not liked: the stream is fine
			c.log.Warn("not published", "err", err)
			again = time.After(wait.next())
		default:
			cut(err)
			return nil
		}
		select {
		case <-c.local.wake:
		case <-again:
		case <-ctx.Done():
			return nil
		}
	}
}

// heard reports whether an error is the hub's own word.
func heard(err error) bool {
	_, status := errors.AsType[*api.StatusError](err)
	_, rejection := errors.AsType[*dnssd.Rejection](err)
	return status || rejection
}

// publishOnce says where this host is, and then, if that is news to the hub,
// what it announces: a service that is refused must not hide the endpoints.
func (c *control) publishOnce(ctx context.Context) error {
	local, netmap := c.local.get(), c.netmap.Load()
	if local == nil || netmap == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if err := c.register(ctx, netmap, dnssd.Registration{New: whereabouts(*local)}); err != nil {
		return err
	}
	return c.publishServices(ctx, netmap)
}

// whereabouts is what is published of how this host is reached.
func whereabouts(local punch.Local) dnssd.Publication {
	p := publication(local.Candidates)
	p.Traits = api.Traits(natProto(local.NAT), local.Relays)
	return p
}

// publishServices sends the services if the hub may not have them just so. One
// that it refuses is tried apart, so that the others are there.
func (c *control) publishServices(ctx context.Context, m *Netmap) error {
	a := c.services.get()
	if a == nil || a == c.known || len(a.services)+len(a.old) == 0 {
		return nil
	}
	r := dnssd.Registration{ServicesOnly: true, Old: a.old, New: dnssd.Publication{Services: a.services}}
	err := c.register(ctx, m, r)
	taken := a.services
	if rejection, ok := errors.AsType[*dnssd.Rejection](err); ok && rejection.Rcode == "REFUSED" {
		taken, err = c.publishEach(ctx, m, *a)
	}
	if err != nil {
		return err
	}
	c.known = a
	c.tell(ctx, settled{a, taken})
	return nil
}

func (c *control) publishEach(ctx context.Context, m *Netmap, a announced) (taken []dnssd.Service, err error) {
	for _, s := range a.old {
		r := dnssd.Registration{ServicesOnly: true, Old: []dnssd.Service{s}}
		if err := c.register(ctx, m, r); err != nil && !heard(err) { // another's by now is not ours to withdraw
			return nil, err
		}
	}
	for _, s := range a.services {
		r := dnssd.Registration{ServicesOnly: true, New: dnssd.Publication{Services: []dnssd.Service{s}}}
		switch err := c.register(ctx, m, r); {
		case err == nil:
			taken = append(taken, s)
		case heard(err):
			c.log.Warn("service not published", "err", fmt.Errorf("%s %q: %w", s.Type, s.Instance, err))
		default:
			return nil, err
		}
	}
	return taken, nil
}

// register carries an update to the hub. The first try is signed by this host's
// clock as the hub's time is known; one that is too far off is signed anew for
// the time that the hub tells.
func (c *control) register(ctx context.Context, m *Netmap, r dnssd.Registration) error {
	key, err := dnssd.DeriveKey(m.Self.RelayKey[:], m.Mesh.Zone, m.Self.Name, c.identity)
	if err != nil {
		return err
	}
	r.Zone, r.Member, r.Peer, r.Key = m.Mesh.Zone, m.Self.Name, c.key, key
	err = c.send(ctx, r, time.Now())
	if late, ok := errors.AsType[*dnssd.Rejection](err); ok && !late.Time.IsZero() {
		return c.send(ctx, r, late.Time)
	}
	return err
}

func (c *control) send(ctx context.Context, r dnssd.Registration, at time.Time) error {
	update, err := r.Message(at)
	if err != nil {
		return err
	}
	answer, err := c.client.Exchange(ctx, update.Data)
	if err != nil {
		return err
	}
	return update.Check(answer)
}

// goodbye withdraws the endpoints, if the hub is there to hear it.
func (c *control) goodbye(ctx context.Context) error {
	netmap := c.netmap.Load()
	if netmap == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, goodbyeTimeout)
	defer cancel()
	err := c.register(ctx, netmap, dnssd.Registration{})
	if err != nil {
		c.log.Debug("endpoints not withdrawn", "err", err)
	}
	return err
}
