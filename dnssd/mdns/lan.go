package mdns

import (
	"context"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	round = 8 * time.Second  // how long a round of browsing listens
	pause = 52 * time.Second // between rounds
	// settle is how long an announcement takes: withdrawn before, it would have
	// said nothing but goodbye.
	settle  = 4 * time.Second
	retry   = 30 * time.Second // after the network would not let us announce
	forever = math.MaxInt64 * time.Nanosecond
)

// Config says who announces itself, and who is listened for.
type Config struct {
	Secret [32]byte // of the mesh: its members have it, nobody else
	Key    [32]byte // own WireGuard public key
	// Changed hears who is on the LAN, all of them, whenever that changes. It is
	// called from Run's goroutines, one at a time, and must not block.
	Changed func([]Peer)
	Log     *slog.Logger

	link link // nil: zeroconf
}

// Interface is one to announce on and to browse: no tunnel, no container bridge.
type Interface struct {
	Name      string
	Addresses []netip.Addr // to announce
}

func (i Interface) equal(o Interface) bool {
	return i.Name == o.Name && slices.Equal(i.Addresses, o.Addresses)
}

// link is multicast DNS itself.
type link interface {
	// announce says that instance is on these interfaces, until close is called.
	announce(instance string, port uint16, on []Interface) (close func(), err error)
	// browse asks who is there and tells each answer, until ctx ends.
	browse(ctx context.Context, on []Interface, found func(answer)) error
}

// answer is what somebody said; nobody vouches for it.
type answer struct {
	instance  string
	addresses []netip.Addr
	port      uint16
}

// LAN announces a member and finds others.
type LAN struct {
	Config
	announcing, browsing chan struct{} // one token: what the loop works on has changed

	mu         sync.Mutex // guards following
	port       uint16
	interfaces []Interface
	members    [][32]byte
}

// New makes a LAN that is quiet until it has interfaces and runs.
func New(c Config) *LAN {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.link == nil {
		c.link = zeroconfLink{}
	}
	return &LAN{Config: c, announcing: make(chan struct{}, 1), browsing: make(chan struct{}, 1)}
}

// SetInterfaces says where to announce and browse, and the UDP port to announce.
// Call it after every change of the network, an address included; saying the
// same again does nothing. No interfaces, or no port: silence.
func (l *LAN) SetInterfaces(port uint16, on []Interface) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if port == l.port && slices.EqualFunc(on, l.interfaces, Interface.equal) {
		return
	}
	l.port, l.interfaces = port, slices.Clone(on)
	wake(l.announcing)
	wake(l.browsing)
}

// SetMembers says whose instances are told apart from strangers', by WireGuard
// key. It counts from the next round on.
func (l *LAN) SetMembers(keys [][32]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.members = slices.Clone(keys)
}

func wake(loop chan struct{}) {
	select {
	case loop <- struct{}{}:
	default:
	}
}

func (l *LAN) settings() (port uint16, on []Interface, members [][32]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.port == 0 {
		return 0, nil, l.members
	}
	return l.port, l.interfaces, l.members
}

// Run announces and browses until ctx ends, and says goodbye.
func (l *LAN) Run(ctx context.Context) error {
	var group errgroup.Group
	group.Go(func() error { l.announce(ctx); return nil })
	group.Go(func() error { l.browse(ctx); return nil })
	return group.Wait()
}

// announce keeps one announcement up: of this day, port and these interfaces.
func (l *LAN) announce(ctx context.Context) {
	for ctx.Err() == nil {
		port, on, _ := l.settings()
		if len(on) == 0 {
			await(ctx, l.announcing, forever)
			continue
		}
		now := time.Now()
		end, err := l.link.announce(Instance(l.Secret, Day(now), l.Key), port, on)
		if err != nil {
			l.Log.Debug("cannot announce on the LAN", "err", err)
			await(ctx, l.announcing, retry)
			continue
		}
		await(ctx, l.announcing, time.Until(time.Unix((Day(now)+1)*86400, 0)))
		await(ctx, nil, settle-time.Since(now))
		end()
	}
}

// await returns when ctx ends, loop is woken, or d is over.
func await(ctx context.Context, loop <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-loop:
	case <-timer.C:
	}
}

// browse does a round each minute, and at once after a change.
func (l *LAN) browse(ctx context.Context) {
	seen, known := table{}, &names{secret: l.Secret}
	for ctx.Err() == nil {
		_, on, members := l.settings()
		if len(on) == 0 {
			await(ctx, l.browsing, forever)
			continue
		}
		known.set(Day(time.Now()), members)
		if seen.expire(time.Now(), func(k [32]byte) bool { return known.keys[k] }) {
			l.Changed(seen.peers())
		}
		l.round(ctx, on, seen, known)
		await(ctx, l.browsing, pause)
	}
}

// round listens for a while. A change of interfaces ends it: its sockets are
// those of the network that was.
func (l *LAN) round(ctx context.Context, on []Interface, seen table, known *names) {
	listening, end := context.WithTimeout(ctx, round)
	defer end()
	watch := make(chan struct{})
	go func() {
		defer close(watch)
		select {
		case <-l.browsing:
			wake(l.browsing)
			end()
		case <-listening.Done():
		}
	}()
	err := l.link.browse(listening, on, func(a answer) {
		key, member := known.by[a.instance]
		if !member || key == l.Key || a.port == 0 || len(a.addresses) == 0 {
			return
		}
		if seen.see(time.Now(), Peer{Key: key, Addresses: a.addresses, Port: a.port}) {
			l.Changed(seen.peers())
		}
	})
	if err != nil {
		l.Log.Debug("cannot browse the LAN", "err", err)
	}
	end()
	<-watch
}
