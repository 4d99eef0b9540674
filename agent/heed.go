package agent

import (
	"context"
	"time"

	"meshd/agent/localapi"
)

// A running mesh heeds these settings without being made anew. Who looks at its
// plane meanwhile must not see it change, so each change makes another plane of
// the same parts.

func (l *loop) heedDNS(ctx context.Context) {
	l.plane.names.stop()
	next := *l.plane
	next.names = l.newNames(ctx, next.tunnel.Name(), next.punch.Want)
	next.names.take(l.netmap, next.punch.Status().Local, l.offered)
	l.plane = &next
}

func (l *loop) heedMDNS(ctx context.Context) {
	l.plane.lan.stop()
	next := *l.plane
	next.lan = l.newNeighbours(ctx)
	l.plane = &next
	l.owe(l.plane.apply(l.netmap, l.relays, partPunch|partTunnel))
	l.plane.republish.choose(l.typesOfLAN())
	l.republished()
}

func (l *loop) heedMetered(context.Context) { l.lookMetered() }

func (l *loop) heedRelaying(context.Context) { l.plane.punch.SetRelaying(l.state.relaying()) }

func (l *loop) heedSearchRate(context.Context) { l.plane.punch.SetBirthdayRate(l.state.searchRate()) }

// meterDelay is how long after the addresses NetworkManager may learn of a network
// whether it is metered.
const meterDelay = 2 * time.Second

// lookMetered finds out whether every packet costs, now or after a change of the
// network. Where that can't be told it is not so.
func (l *loop) lookMetered() {
	metered := l.state.Metered == wordOn
	if l.state.Metered == "" || l.state.Metered == wordAuto {
		var err error
		if metered, err = l.cfg.Host.Metered(); err != nil {
			l.log.Debug("metered links not looked for", "err", err)
		}
	}
	if l.metered.Swap(metered) != metered {
		l.log.Info("metered network", "metered", metered)
	}
}

// Settings implements [localapi.Settings].
func (a *Agent) Settings(context.Context) ([]localapi.Setting, error) {
	kept := a.view.Load().kept
	list := make([]localapi.Setting, 0, len(settings))
	for _, s := range settings {
		list = append(list, localapi.Setting{Key: s.key, Value: s.value(&kept), Default: s.fallback, Valid: s.valid, Help: s.help})
	}
	return list, nil
}

// Set implements [localapi.Settings].
func (a *Agent) Set(ctx context.Context, values map[string]string) error {
	c := settingChange{values: values, done: make(chan error, 1)}
	select {
	case a.tunes <- c:
		return <-c.done
	case <-a.ended:
		return errEnding
	case <-ctx.Done():
		return ctx.Err()
	}
}
