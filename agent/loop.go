package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"meshd/agent/localapi"
	"meshd/coordinator/api"
	"meshd/dnssd"
	"meshd/punch"
)

// loop owns the agent's state. Only its goroutine touches it.
type loop struct {
	*Agent
	log      *slog.Logger
	folder   folder
	state    state
	identity *api.Identity
	private  privateKey

	phase   localapi.State
	failure *localapi.Error // why phase is Failed
	said    string          // the last failure that was logged; each is once
	netmap  *Netmap         // nil: none, or none that counts
	plane   *plane          // nil: the mesh is down

	// The control connection, and how it stands.
	control *control // nil: never joined, or no member any more
	follow  *task    // runs control
	asked   *hub     // whom control talks to; state.Hub once it has admitted us
	joining bool     // it has not said yet whether it will
	events  chan event
	linked  bool      // the stream is up
	heard   bool      // it was, since the daemon started
	since   time.Time // of linked
	hubErr  error     // why not linked; nil: no attempt has failed yet
	waiters []chan error

	name     string    // as the hub gave it, before there is a map
	rebuilt  time.Time // when the mesh last broke
	local    *latest[punch.Local]
	services *latest[announced] // as offered last
	offered  []dnssd.Service    // in services: own ones and those of the LAN
	// unpublished are the services that the hub refused last.
	unpublished []dnssd.Service
	metered     atomic.Bool           // every packet costs; read by punch
	fwmark      atomic.Uint32         // state's; read by who dials the hub
	moved       chan struct{}         // capacity 1: the way out of this host changed
	marred      chan struct{}         // capacity 1: our interface is not as we made it
	relays      []netip.AddrPort      // the hub's relay, as last resolved
	resolved    chan []netip.AddrPort // what a lookup found
	lookup      *task
	retry       *time.Timer // runs while something is to be tried again
	save        *time.Timer // runs while the map on disk is old
	unsaved     bool
	warm        *time.Timer // runs while a peer is not kept warm yet
	meter       *time.Timer // runs after a change of the network
}

// newLoop reads what the folder holds. It starts nothing.
func newLoop(a *Agent, f folder) (*loop, error) {
	l := &loop{
		Agent: a, log: a.cfg.Log, folder: f, phase: localapi.Stopped,
		events: make(chan event), resolved: make(chan []netip.AddrPort),
		moved: make(chan struct{}, 1), marred: make(chan struct{}, 1), local: newLatest[punch.Local](), services: newLatest[announced](),
		retry: stoppedTimer(), save: stoppedTimer(), warm: stoppedTimer(), meter: stoppedTimer(),
	}
	var err error
	if l.state, err = f.load(); err != nil {
		return nil, err
	}
	if l.identity, err = f.identity(); err != nil {
		return nil, err
	}
	l.offered = l.state.Services
	l.services.set(announced{services: l.state.Services, old: l.state.Published})
	l.private, err = f.key()
	return l, err
}

func stoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// run reacts until ctx ends, `meshd down` is said, or nothing can be done.
func (l *loop) run(ctx context.Context, serve *task) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := start(ctx, func(ctx context.Context) error {
		return l.cfg.Host.Watch(ctx, l.noticed)
	})
	defer watch.stop()
	defer l.end()
	if err := l.begin(ctx); err != nil {
		return err
	}
	for {
		l.show()
		var err error
		select {
		case <-ctx.Done():
			return nil
		case done := <-l.downs:
			l.end()
			l.phase = localapi.Stopped
			l.show()
			close(done)
			return nil
		case req := <-l.ups:
			err = l.up(ctx, req)
		case c := <-l.changes:
			l.changeServices(c)
		case c := <-l.tunes:
			err = l.changeSettings(ctx, c)
		case e := <-l.events:
			err = l.react(ctx, e)
		case addrs := <-l.resolved:
			l.relaysKnown(addrs)
		case <-l.moved:
			err = l.linkChanged(ctx)
		case <-l.marred:
			err = l.mend(ctx)
		case <-l.retry.C:
			err = l.again(ctx)
		case <-l.save.C:
			l.saveMap()
		case <-l.warm.C:
			l.keepWarm()
		case <-l.meter.C:
			l.lookMetered()
		case <-l.plane.lanChanged():
			l.neighboursChanged()
		case <-l.plane.servicesHeard():
			l.republished()
		case <-l.plane.changed():
			l.pathsChanged()
		case <-l.plane.died():
			err = l.rebuild(ctx)
		case <-l.plane.broke():
			err = l.rebuild(ctx)
		case <-serve.ended():
			return serve.err
		case <-watch.ended():
			return watch.err
		}
		if err != nil {
			return err
		}
	}
}

// begin takes up what the command line wishes, or what was left behind.
func (l *loop) begin(ctx context.Context) error {
	l.keepSettings()
	l.tidyHost(ctx)
	if l.join != nil {
		if err := l.wish(ctx, *l.join, l.cfg.Hostname); err != nil {
			return err
		}
	}
	switch {
	case l.phase == localapi.Joining:
		return nil
	case l.state.Hub == nil:
		l.log.Info("not joined yet", "mesh", l.cfg.Mesh)
		return nil
	case l.state.Removed:
		l.phase, l.failure = localapi.Failed, errRemoved(l.state.Hub)
		return nil
	}
	return l.resume(ctx)
}

// resume brings the mesh up from the disk, without waiting for the hub.
func (l *loop) resume(ctx context.Context) error {
	saved, err := l.folder.loadMap()
	if err != nil {
		l.log.Warn("last map not used", "err", err)
	}
	l.phase = localapi.Joining
	if l.state.Pending {
		l.phase = localapi.Pending
	}
	if l.control == nil {
		l.connect(ctx, l.state.Hub, nil)
	}
	if saved == nil {
		return nil
	}
	l.relays = saved.Relays
	return l.adopt(ctx, saved.Map)
}

// end is the way back from everything begin and react did. It may be called twice.
func (l *loop) end() {
	var bye *task
	if l.linked && l.control != nil {
		bye = start(context.Background(), l.control.goodbye)
	}
	l.lookup.stop()
	l.lower()
	if l.unsaved {
		l.saveMap()
	}
	bye.wait()
	l.follow.stop()
	l.linked = false
	l.answer(errors.New("the daemon ends"))
}
