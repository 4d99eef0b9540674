package coordinator

import (
	"context"
	"crypto/ecdh"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"meshd/coordinator/api"
	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/punch/relay"
)

// Config says what a coordinator serves, and where.
type Config struct {
	StateDir string         // made if missing; holds identity.key and coordinator.sock
	Store    Store          // required; closed by its owner, after Run
	Identity *api.Identity  // nil: StateDir/identity.key, made if missing
	Public   []string       // host[:port] for join strings; none: the machine's own addresses
	Listen   netip.AddrPort // TCP control port; invalid: all addresses, port 443
	// UDP are the addresses of STUN and relay, two ports at least; none: all
	// addresses, ports 3478 and 3479.
	UDP []netip.AddrPort
	// RelayRate is how many bytes a second are relayed for each member in the long
	// run; 0: as many as there are.
	RelayRate float64
	// RelayOffload has the kernel relay busy flows, where it can.
	RelayOffload bool
	// DNS is where the mesh's zone is answered, by UDP and TCP; invalid: nowhere.
	DNS       netip.AddrPort
	DNSPublic bool // strangers are answered, too: names and endpoints

	Wishes // what the mesh is to be

	Version string           // of this program, for status
	Log     *slog.Logger     // nil: nobody listens
	Now     func() time.Time // nil: time.Now
}

const (
	tickEvery  = 5 * time.Second
	flushEvery = 30 * time.Second
	// reunion is how long after a start members that were online at the last one
	// still count as online: their agents need that long to come back at most,
	// and nobody should notice that the hub was away.
	reunion = time.Minute
)

var errStopping = Errorf(connect.CodeUnavailable, "", "the coordinator is stopping")

// Coordinator runs one mesh. Its goroutine, in [Coordinator.Run], owns the
// network and the fan-out; everyone else asks it through do.
type Coordinator struct {
	log      *slog.Logger
	now      func() time.Time
	version  string
	mesh     string // name of the mesh
	zone     string // its DNS zone
	identity *api.Identity
	store    Store
	hosts    []string // for join strings
	port     uint16
	started  time.Time

	network   *Network
	fanout    *fanout
	health    health
	unflushed map[MemberID]bool // presence not in the store yet

	calls    chan func()
	stopped  chan struct{} // closed when nobody takes calls any more
	observed *observations
	roster   *roster
	plains   plains
	punches  *punches

	relay   *relay.Server
	hubKey  *ecdh.PrivateKey // of the mesh: plain members shake hands with it
	names   *names           // by DNS
	control net.Listener
	admin   net.Listener
}

// New reads the store, settles what the mesh is, and binds all ports. It starts
// nothing. Errors name the folder, the setting or the address, with a hint.
func New(c Config) (_ *Coordinator, err error) {
	co := &Coordinator{
		log: c.Log, now: c.Now, version: c.Version, identity: c.Identity, store: c.Store,
		unflushed: map[MemberID]bool{},
		calls:     make(chan func()),
		stopped:   make(chan struct{}),
		observed:  newObservations(),
		roster:    &roster{},
		punches:   newPunches(),
	}
	if co.now == nil {
		co.now = time.Now
	}
	if co.log == nil {
		co.log = slog.New(slog.DiscardHandler)
	}
	co.started = co.now()
	if err := co.openState(c); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			co.close()
		}
	}()
	if err := co.bind(c); err != nil {
		return nil, err
	}
	if err := co.nameHosts(c.Public); err != nil {
		return nil, err
	}
	co.roster.update(co.network)
	co.plains.update(co.network)
	if co.names, err = co.newNames(c); err != nil {
		return nil, err
	}
	co.fanout = newFanout(co.network, co.now, co.relays())
	return co, nil
}

// openState reads identity and store, and makes them at the first start.
func (c *Coordinator) openState(config Config) (err error) {
	if err := makeStateDir(config.StateDir); err != nil {
		return err
	}
	if c.identity == nil {
		if c.identity, err = api.LoadOrCreateIdentity(identityPath(config.StateDir)); err != nil {
			return Errorf(connect.CodeInternal, hintState, "%w", err)
		}
	}
	state, err := c.store.Load(context.Background())
	if err != nil {
		return err
	}
	if state.Settings.IsZero() {
		if state.Settings, err = newSettings(config.Wishes); err != nil {
			return err
		}
		if err := c.store.Save(context.Background(), []Change{PutSettings{state.Settings}}); err != nil {
			return Errorf(connect.CodeUnavailable, hintStore, "make a new mesh: %w", err)
		}
	}
	c.network, c.mesh, c.zone = NewNetwork(state), state.Settings.Mesh, state.Settings.Zone
	c.hubKey = hubKey(state.Settings.RelaySecret)
	return state.Settings.agree(config.Wishes)
}

// Run serves until ctx ends, and then returns nil.
func (c *Coordinator) Run(ctx context.Context) error {
	defer c.close()
	c.log.Info("coordinator serves", "mesh", c.network.settings.Mesh, "pin", c.identity.Pin(),
		"listen", c.control.Addr(), "udp", c.relay.Addrs(), "hosts", c.hosts)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.loop(ctx) })
	group.Go(func() error { return c.relay.Run(ctx) })
	group.Go(func() error { return c.names.run(ctx) })
	group.Go(func() error { return c.serve(ctx, c.controlServer(), c.controlListener()) })
	group.Go(func() error { return c.serve(ctx, c.adminServer(), c.admin) })
	if err := group.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// loop owns the state.
func (c *Coordinator) loop(ctx context.Context) error {
	defer close(c.stopped)
	tick, flush := time.NewTicker(tickEvery), time.NewTicker(flushEvery)
	defer tick.Stop()
	defer flush.Stop()
	missing := time.After(reunion)
	for {
		select {
		case f := <-c.calls:
			f()
		case <-c.observed.wake:
			for _, e := range c.observed.take() {
				c.handleQuietly(e)
			}
		case p := <-c.punches.wanted:
			c.punch(p)
		case <-tick.C:
			c.punches.forget(c.now())
			c.handleQuietly(Tick{Up: c.started})
		case <-flush.C:
			c.flush()
		case <-missing:
			c.disconnectMissing()
		case <-ctx.Done():
			// Who is online now will be so again after the next start.
			c.flush()
			c.fanout.cutAll(errStopping)
			return nil
		}
	}
}

// do runs f in the goroutine that owns the state, and waits for its end.
func (c *Coordinator) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case c.calls <- func() { defer close(done); f() }:
		<-done // f never waits for anyone
		return nil
	case <-c.stopped:
		return errStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}

// handle turns an event into changes: decided, stored, applied, told, in this
// order. What can't be stored doesn't happen.
func (c *Coordinator) handle(e Event) error {
	changes, err := c.network.Decide(c.now(), e)
	if err != nil {
		return err
	}
	if err := c.save(durable(changes)); err != nil {
		return err
	}
	for _, change := range changes {
		c.apply(change)
	}
	return nil
}

// handleQuietly is for events that nobody waits for. A failure shows in the
// health of the coordinator, and the event comes again.
func (c *Coordinator) handleQuietly(e Event) {
	if err := c.handle(e); err != nil {
		c.log.Debug("event refused", "event", fmt.Sprintf("%T", e), "err", err)
	}
}

// apply carries out one change and tells everyone whom it concerns.
func (c *Coordinator) apply(change Change) {
	id, membership := touched(change)
	before := c.network.members[id]
	c.network.Apply([]Change{change})
	if id == 0 {
		return
	}
	after := c.network.members[id]
	c.unflushed[id] = true
	if membership {
		delete(c.unflushed, id) // its presence went along
		c.roster.update(c.network)
		c.logMembership(before, after)
	}
	if before.Active() && !after.Active() {
		c.relay.Drop(relayID(id))
	}
	if before.Plain || after.Plain {
		c.plains.update(c.network)
	}
	c.fanout.announce(before, after, c.network)
	c.list(c.names, before, after)
}

// touched returns the member that a change is about, and whether it changes
// more than its presence.
func touched(change Change) (id MemberID, membership bool) {
	switch ch := change.(type) {
	case PutMember:
		return ch.Member.ID, true
	case DeleteMember:
		return ch.ID, true
	case PutPresence:
		return ch.ID, false
	}
	return 0, false
}

func (c *Coordinator) logMembership(before, after Member) {
	switch {
	case before.ID == 0:
		c.log.Info("member joined", "peer", after.Name, "id", after.ID, "standing", after.Standing, "addr", after.Addr4)
	case after.ID == 0:
		c.log.Info("member deleted", "peer", before.Name, "id", before.ID)
	case before.Standing != after.Standing:
		c.log.Info("member's standing changed", "peer", after.Name, "id", after.ID, "standing", after.Standing)
	case before.Name != after.Name:
		c.log.Info("member renamed", "peer", after.Name, "id", after.ID, "from", before.Name)
	case before.WireGuard != after.WireGuard:
		c.log.Info("member rotated its key", "peer", after.Name, "id", after.ID)
	}
}

// save writes to the store, and keeps the health line about it.
func (c *Coordinator) save(changes []Change) error {
	if len(changes) == 0 {
		return nil
	}
	err := c.store.Save(context.Background(), changes)
	if err == nil {
		c.health.clear(healthStore)
		return nil
	}
	if c.health.set(healthStore, fmt.Sprintf("the store cannot be written: %v", err)) {
		c.log.Error("store cannot be written", "err", err)
	}
	return Errorf(connect.CodeUnavailable, hintStore, "nothing was changed: the coordinator cannot write its store: %w", err)
}

// flush stores the presences that changed. What fails is tried again next time.
func (c *Coordinator) flush() {
	var changes []Change
	for id := range c.unflushed {
		if m, ok := c.network.Member(id); ok {
			changes = append(changes, PutPresence{id, m.Presence})
		}
	}
	if c.save(changes) == nil {
		clear(c.unflushed)
	}
}

// disconnectMissing gives up on members that were online before the last stop
// and have not come back.
func (c *Coordinator) disconnectMissing() {
	for _, m := range c.network.Members() {
		if m.Online && !m.Plain && c.fanout.subscribers[m.ID] == nil {
			c.handleQuietly(Disconnect{m.ID})
		}
	}
}

// nameHosts settles what join strings name, and says so if it is a guess.
func (c *Coordinator) nameHosts(told []string) (err error) {
	if c.hosts, c.port, err = publicHosts(told, c.control.Addr()); err != nil {
		return err
	}
	switch {
	case len(c.hosts) == 0:
		c.health.set(healthHosts, "join strings cannot be made: this machine has no address; start with --public HOST[:PORT]")
	case len(told) == 0:
		c.log.Info("join strings name this machine's own addresses, as --public is not given", "hosts", c.hosts, "port", c.port)
	}
	return nil
}

// relays is how agents reach this hub's relay.
func (c *Coordinator) relays() []*meshdv1.Relay {
	return []*meshdv1.Relay{{Udp: relayAddrs(c.relay.Addrs()), Websocket: relayPath}}
}

// close gives all ports back.
func (c *Coordinator) close() {
	for _, ln := range []net.Listener{c.control, c.admin} {
		if ln != nil {
			ln.Close()
		}
	}
	if c.relay != nil {
		c.relay.Close()
	}
	c.names.close()
}
