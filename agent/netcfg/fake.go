package netcfg

import (
	"context"
	"net/netip"
	"slices"
	"sync"
)

// Fake is a Host in memory, for tests. The zero value has no addresses and no
// routes.
type Fake struct {
	mu         sync.Mutex // guards following
	addresses  []netip.Prefix
	gateways   []Gateway
	metered    bool
	lan        []Interface
	used       []taken
	configured map[string]Config
	calls      int // of Configure
	fail       error
	watchers   map[*func(Event)]bool
}

var _ Host = (*Fake)(nil)

// SetAddresses is what Addresses returns from now on. It fires no event.
func (f *Fake) SetAddresses(a ...netip.Prefix) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.addresses = a
}

// SetGateways is what Gateways returns from now on. It fires no event.
func (f *Fake) SetGateways(g ...Gateway) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gateways = g
}

// SetLAN is what LAN returns from now on. It fires no event.
func (f *Fake) SetLAN(i ...Interface) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lan = i
}

// AddRoute lets Overlap find p on an interface.
func (f *Fake) AddRoute(p netip.Prefix, iface string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.used = append(f.used, taken{p, iface})
}

// Fail makes all methods but Watch fail with err from now on; nil ends that.
func (f *Fake) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

// Fire sends e to every Watch that runs, and returns how many there are.
func (f *Fake) Fire(e Event) int {
	f.mu.Lock()
	var fns []func(Event)
	for fn := range f.watchers {
		fns = append(fns, *fn)
	}
	f.mu.Unlock()
	for _, fn := range fns {
		fn(e)
	}
	return len(fns)
}

// Configured returns what an interface was last told to be.
func (f *Fake) Configured(iface string) (Config, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.configured[iface]
	return c, ok
}

// Calls returns how often Configure was called.
func (f *Fake) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// Addresses returns what SetAddresses was given.
func (f *Fake) Addresses() ([]netip.Prefix, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.addresses), f.fail
}

// Gateways returns what SetGateways was given.
func (f *Fake) Gateways() ([]Gateway, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.gateways), f.fail
}

// SetMetered is what Metered returns from now on. It fires no event.
func (f *Fake) SetMetered(yes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.metered = yes
}

// Metered returns what SetMetered was given.
func (f *Fake) Metered() (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.metered, f.fail
}

// LAN returns what SetLAN was given.
func (f *Fake) LAN() ([]Interface, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.lan), f.fail
}

// Overlap judges by the routes of AddRoute.
func (f *Fake) Overlap(p netip.Prefix, own string) (string, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t, found := overlap(p, f.used, own); found {
		return t.String(), true, f.fail
	}
	return "", false, f.fail
}

// Configure records c.
func (f *Fake) Configure(iface string, c Config) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.fail != nil {
		return f.fail
	}
	if f.configured == nil {
		f.configured = make(map[string]Config)
	}
	f.configured[iface] = c
	return nil
}

// Remove forgets the interface.
func (f *Fake) Remove(iface string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.configured, iface)
	return f.fail
}

// Watch passes on what Fire is given.
func (f *Fake) Watch(ctx context.Context, changed func(Event)) error {
	f.mu.Lock()
	if f.watchers == nil {
		f.watchers = make(map[*func(Event)]bool)
	}
	f.watchers[&changed] = true
	f.mu.Unlock()
	<-ctx.Done()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.watchers, &changed)
	return nil
}

// FakeResolver is a Resolver in memory, for tests. The zero value takes all names.
type FakeResolver struct {
	mu    sync.Mutex // guards following
	names *Names     // nil: nothing is changed
	fail  error
}

var _ Resolver = (*FakeResolver)(nil)

// Names returns what was last set, nil after Clear.
func (f *FakeResolver) Names() *Names {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.names
}

// Fail makes Set fail with err from now on; nil ends that.
func (f *FakeResolver) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

// Set keeps n.
func (f *FakeResolver) Set(_ context.Context, n Names) (Resolution, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return Resolution{}, f.fail
	}
	f.names = &n
	return Resolution{Way: ByHosts}, nil
}

// Clear forgets the names.
func (f *FakeResolver) Clear(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names = nil
	return nil
}

// Upstream returns none.
func (f *FakeResolver) Upstream() []netip.AddrPort { return nil }
