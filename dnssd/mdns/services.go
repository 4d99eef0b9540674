package mdns

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/grandcat/zeroconf"
)

const (
	watchRound = 5 * time.Second
	watchPause = 15 * time.Second
	// unheard is how long after it was last heard of a service has left: it
	// missed two rounds.
	unheard = 2*(watchRound+watchPause) + watchRound
	// farewell is how long one stays that says goodbye (RFC 6762 §10.1).
	farewell = time.Second
	// MaxInstances is how many services of one type are told apart on a LAN.
	MaxInstances = 32
)

// Service is what some host of the LAN offers (RFC 6763). Nobody vouches for it.
// Names and text are in presentation format: "Office\ Printer".
type Service struct {
	Instance  string       // name for people
	Host      string       // where it is, as it says: printer.local.
	Port      uint16       //
	Text      []string     // strings of its TXT record
	Addresses []netip.Addr // sorted; none is link-local
}

func (s Service) equal(o Service) bool {
	return s.Instance == o.Instance && s.Host == o.Host && s.Port == o.Port &&
		slices.Equal(s.Text, o.Text) && slices.Equal(s.Addresses, o.Addresses)
}

// Watch is a wish to know which services of a type there are on a LAN.
type Watch struct {
	Type       string             // like _ipp._tcp
	Interfaces func() []Interface // where to listen now
	// Changed hears all of them, by name: after the first round, and whenever
	// that changes. It must not block.
	Changed func([]Service)
	Log     *slog.Logger

	browse func(ctx context.Context, typ string, on []Interface, found func(Service)) error // nil: zeroconf
	listen func(ctx context.Context, typ string, on []Interface, said func(mention)) error  // nil: the network
}

// sighted is a service, and until when it counts as there.
type sighted struct {
	Service
	until time.Time
}

// Run listens until ctx ends, and asks in rounds. What was heard of stays until it
// says goodbye, or two rounds have gone by without it.
func (w Watch) Run(ctx context.Context) error {
	if w.browse == nil {
		w.browse = browseServices
	}
	if w.listen == nil {
		w.listen = listen
	}
	v := &view{Watch: w, seen: sightings{}, said: make(chan mention)}
	on := w.Interfaces()
	stop := v.listenOn(ctx, on)
	defer func() { stop() }()
	for ctx.Err() == nil {
		v.cycle(ctx, on)
		if now := w.Interfaces(); !slices.EqualFunc(now, on, Interface.equal) {
			stop()
			on, stop = now, v.listenOn(ctx, now)
		}
	}
	return nil
}

// view is what a running watch knows.
type view struct {
	Watch
	seen sightings
	said chan mention
	told bool // something, if only that there is nothing
	full bool // which was logged
}

// listenOn has what is said on these interfaces come by said, until it is stopped.
func (w *view) listenOn(ctx context.Context, on []Interface) (stop func()) {
	ctx, end := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for len(on) > 0 && ctx.Err() == nil {
			if err := w.listen(ctx, w.Type, on, func(m mention) { pass(ctx, w.said, m) }); err != nil {
				w.Log.Debug("cannot listen on the LAN", "reason", w.Type, "err", err)
				await(ctx, nil, watchPause)
			}
		}
	}()
	return func() {
		end()
		<-ended
	}
}

// cycle is a round and the pause after it.
func (w *view) cycle(ctx context.Context, on []Interface) {
	ctx, end := context.WithTimeout(ctx, watchRound+watchPause)
	found, done := make(chan Service), make(chan struct{})
	go func() {
		defer close(done)
		w.ask(ctx, on, found)
	}()
	defer func() {
		end()
		<-done
	}()
	asked := done
	due := time.NewTimer(0)
	defer due.Stop()
	for news := false; ; news = false {
		select {
		case s := <-found:
			news = w.room(s) && w.seen.see(time.Now(), s)
		case m := <-w.said:
			w.seen.hear(time.Now(), m)
		case <-asked:
			asked, news = nil, !w.told
		case <-due.C:
			news = w.seen.expire(time.Now())
		case <-ctx.Done():
			return
		}
		if news {
			w.told = true
			w.Changed(w.seen.list())
		}
		due.Reset(time.Until(w.seen.next(time.Now())))
	}
}

// ask is a round.
func (w *view) ask(ctx context.Context, on []Interface, found chan<- Service) {
	ctx, end := context.WithTimeout(ctx, watchRound)
	defer end()
	if len(on) > 0 {
		if err := w.browse(ctx, w.Type, on, func(s Service) { pass(ctx, found, s) }); err != nil {
			w.Log.Debug("cannot browse the LAN", "reason", w.Type, "err", err)
		}
	}
	<-ctx.Done()
}

// room reports whether s is known, or not one too many.
func (w *view) room(s Service) bool {
	if _, known := w.seen[s.Instance]; known || len(w.seen) < MaxInstances {
		return true
	}
	if !w.full {
		w.full = true
		w.Log.Warn("more services on the LAN than are taken", "reason", w.Type, "err", fmt.Errorf("%q is beyond %d", s.Instance, MaxInstances))
	}
	return false
}

// pass hands v over, unless ctx ends first.
func pass[T any](ctx context.Context, to chan<- T, v T) {
	select {
	case to <- v:
	case <-ctx.Done():
	}
}

// browseServices tells each service that is heard of until ctx ends, once.
func browseServices(ctx context.Context, typ string, on []Interface, found func(Service)) error {
	list, err := netInterfaces(on)
	if err != nil {
		return err
	}
	resolver, err := zeroconf.NewResolver(zeroconf.SelectIfaces(list), zeroconf.SelectIPTraffic(families(on)))
	if err != nil {
		return fmt.Errorf("browse %s: %w", typ, err)
	}
	entries := make(chan *zeroconf.ServiceEntry, 16)
	err = resolver.Browse(ctx, typ, domain, entries)
	for e := range entries {
		s := Service{Instance: e.Instance, Host: e.HostName, Port: uint16(e.Port), Text: e.Text}
		s.Addresses = slices.DeleteFunc(usable(e, on), func(a netip.Addr) bool { return a.IsLinkLocalUnicast() })
		if s.Instance != "" && s.Port != 0 && len(s.Addresses) > 0 && strings.TrimSuffix(s.Host, ".") != "" {
			found(s)
		}
	}
	return err
}
