package portmap

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"
)

// Config is what a [Mapper] is made of.
type Config struct {
	// Gateways returns the routers of the default routes, at most one a family,
	// and this host's addresses towards them. It is asked at first and at each
	// Refresh, by Run's goroutine. An error means none, until the next Refresh.
	Gateways func() ([]Gateway, error)
	// Port of this host, of both families, that is to be reached by UDP.
	Port uint16
	// Lifetime to ask for, up to a day; half of what is granted is when it is
	// renewed. 0: two hours.
	Lifetime time.Duration
	// Changed is told the mappings in force, at each change: none at first, then
	// at most one a gateway. It is called by Run's goroutine and must not block.
	Changed func([]Mapping)
	Log     *slog.Logger // nil: none
}

// Mapper keeps a port mapped for as long as [Mapper.Run] runs.
type Mapper struct {
	config  Config
	refresh chan struct{}
}

// New returns a Mapper that does nothing yet.
func New(c Config) *Mapper {
	if c.Gateways == nil || c.Port == 0 {
		panic("portmap: no gateways or no port")
	}
	if c.Lifetime == 0 {
		c.Lifetime = defaultLifetime
	}
	c.Lifetime = min(c.Lifetime, maxLifetime)
	if c.Changed == nil {
		c.Changed = func([]Mapping) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Mapper{config: c, refresh: make(chan struct{}, 1)}
}

// Refresh says that the network of this host may have changed: gateways are
// asked for again, and mappings on the same ones are checked. It never blocks.
// A caller that learns by other means that its gateway restarted calls it too.
func (m *Mapper) Refresh() {
	select {
	case m.refresh <- struct{}{}:
	default: // one is due already
	}
}

func (c Config) target(g Gateway) target { return target{g, c.Port, c.Lifetime} }

// stopTimeout bounds how long Run goes on after its context has ended, to give
// back what was granted.
const stopTimeout = 2 * time.Second

// Run gets mappings and keeps them until ctx ends. Then it removes them, for two
// seconds at most, and returns nil.
func (m *Mapper) Run(ctx context.Context) error {
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	r := &run{Config: m.config, ctx: ctx, last: last, sites: map[siteID]*dealings{},
		events: make(chan event), heard: make(chan siteID)}
	r.step(gateways{r.gateways()})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(r.untilTick())
		select {
		case <-ctx.Done():
		case <-m.refresh:
			r.step(gateways{r.gateways()})
		case ev := <-r.events:
			r.ended(ev)
		case id := <-r.heard:
			r.step(announced{id})
		case <-timer.C:
			r.step(tick{})
		}
	}
	r.stop(cancel)
	return nil
}

// run is a Mapper at work.
type run struct {
	Config
	ctx     context.Context // of what is given up at once when Run has to end
	last    context.Context // of what is finished then
	book    book
	sites   map[siteID]*dealings
	outside []netip.AddrPort // as logged last
	pending int              // operations whose event has not come
	events  chan event       // one from each operation; nil: nothing to say
	heard   chan siteID
}

// dealings are the clients of a site, and its ear.
type dealings struct {
	clients map[Protocol]client
	deafen  context.CancelFunc
}

func (r *run) gateways() []Gateway {
	list, err := r.Gateways()
	if err != nil {
		r.Log.Debug("no gateway to ask for port mappings", "err", err)
	}
	return list
}

func (r *run) untilTick() time.Duration {
	next := r.book.next()
	if next.IsZero() {
		return time.Hour // nothing is due
	}
	return max(time.Until(next), 0)
}

// stop lets operations end and gives back what they got, for stopTimeout.
func (r *run) stop(cancel context.CancelFunc) {
	defer time.AfterFunc(stopTimeout, cancel).Stop()
	r.step(stop{})
	for r.pending > 0 {
		r.ended(<-r.events)
	}
}

// ended takes the event of an operation that has ended.
func (r *run) ended(ev event) {
	r.pending--
	if ev != nil {
		r.step(ev)
	}
}

// step gives an event to the book and does what it says.
func (r *run) step(ev event) {
	for _, a := range r.book.step(time.Now(), ev) {
		r.do(a)
	}
	r.prune()
}

func (r *run) do(a action) {
	switch a := a.(type) {
	case search:
		r.search(a)
	case ask:
		c := r.sites[a.site].clients[a.protocol]
		r.spawn(func() event { return r.ask(c, a) })
	case check:
		c := r.sites[a.site].clients[a.protocol]
		r.spawn(func() event { return r.check(c, a) })
	case remove:
		c := r.sites[a.site].clients[a.protocol]
		r.spawn(func() event { return r.remove(c, a) })
	case report:
		r.tell(a.mappings)
	}
}

// tell passes the mappings on, and logs those that are not merely renewed.
func (r *run) tell(list []Mapping) {
	var outside []netip.AddrPort
	for _, m := range list {
		outside = append(outside, m.External)
		if !slices.Contains(r.outside, m.External) {
			r.Log.Info("port mapped", "addr", m.External, "protocol", m.Protocol, "trusted", m.Trusted)
		}
	}
	for _, addr := range r.outside {
		if !slices.Contains(outside, addr) {
			r.Log.Info("port mapping lost", "addr", addr)
		}
	}
	r.outside = outside
	r.Changed(list)
}

// prune forgets sites that the book has forgotten.
func (r *run) prune() {
	for id, d := range r.sites {
		if !r.book.has(id) {
			d.deafen()
			delete(r.sites, id)
		}
	}
}

// spawn runs an operation. The loop does not end before it has its event.
func (r *run) spawn(operation func() event) {
	r.pending++
	go func() { r.events <- operation() }()
}

func (r *run) search(a search) {
	d := r.sites[a.site]
	if d == nil {
		ctx, cancel := context.WithCancel(r.ctx)
		d = &dealings{r.target(a.gateway).clients(), cancel}
		r.sites[a.site] = d
		r.spawn(func() event { return r.hear(ctx, a) })
	}
	for p, c := range d.clients {
		r.spawn(func() event {
			err := probe(r.ctx, p, c)
			r.Log.Debug("port mapping searched for", "addr", a.gateway.Addr, "protocol", p, "err", err)
			return found{a.site, p, err}
		})
	}
}

func (r *run) hear(ctx context.Context, a search) event {
	err := hear(ctx, a.gateway, func() {
		select {
		case r.heard <- a.site:
		case <-ctx.Done():
		}
	})
	if ctx.Err() == nil {
		r.Log.Debug("the gateway's announcements are not heard", "addr", a.gateway.Addr, "err", err)
	}
	return nil
}

// ask gets a mapping, and returns one that is of no use.
func (r *run) ask(c client, a ask) event {
	ctx, cancel := context.WithTimeout(r.last, timeoutOf(a.protocol, askTimeout))
	defer cancel()
	g, err := c.ask(ctx, a.before)
	if err == nil {
		if err = g.usable(); err != nil {
			c.remove(ctx, g) // it ends by itself otherwise
		}
	}
	if err != nil {
		r.Log.Debug("port not mapped", "protocol", a.protocol, "err", err)
		return refused{a.site, a.protocol, err}
	}
	r.Log.Debug("port mapping granted", "protocol", a.protocol, "addr", g.external, "lifetime", g.lifetime)
	return granted{a.site, a.protocol, g}
}

func (r *run) check(c client, a check) event {
	ctx, cancel := context.WithTimeout(r.ctx, timeoutOf(a.protocol, probeTimeout))
	defer cancel()
	f, err := c.check(ctx, a.grant)
	r.Log.Debug("port mapping checked", "protocol", a.protocol, "lost", f.lost, "uptime", f.uptime.seconds, "err", err)
	return checked{a.site, f, err}
}

func (r *run) remove(c client, a remove) event {
	ctx, cancel := context.WithTimeout(r.last, removeTimeout)
	defer cancel()
	err := c.remove(ctx, a.grant)
	r.Log.Debug("port mapping removed", "protocol", a.protocol, "addr", a.grant.external, "err", err)
	return nil
}

// probe looks for a protocol within its time.
func probe(ctx context.Context, p Protocol, c client) error {
	ctx, cancel := context.WithTimeout(ctx, timeoutOf(p, probeTimeout))
	defer cancel()
	return c.probe(ctx)
}

func timeoutOf(p Protocol, short time.Duration) time.Duration {
	if p == UPnP {
		return upnpTimeout
	}
	return short
}
