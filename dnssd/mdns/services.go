package mdns

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
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
}

// heardService is a service, and when it was heard of last.
type heardService struct {
	Service
	at time.Time
}

// Run listens in rounds until ctx ends. What was heard in one stays until two
// have gone by without it: zeroconf keeps goodbyes to itself.
func (w Watch) Run(ctx context.Context) error {
	if w.browse == nil {
		w.browse = browseServices
	}
	seen := map[string]heardService{}
	full := false
	tell := func() {
		list := make([]Service, 0, len(seen))
		for _, s := range seen {
			list = append(list, s.Service)
		}
		slices.SortFunc(list, func(a, b Service) int { return cmp.Compare(a.Instance, b.Instance) })
		w.Changed(list)
	}
	for first := true; ctx.Err() == nil; first = false {
		w.round(ctx, func(s Service) {
			old, known := seen[s.Instance]
			if !known && len(seen) >= MaxInstances {
				if !full {
					full = true
					w.Log.Warn("more services on the LAN than are taken", "reason", w.Type, "err", fmt.Errorf("%q is beyond %d", s.Instance, MaxInstances))
				}
				return
			}
			seen[s.Instance] = heardService{s, time.Now()}
			if !known || !old.equal(s) {
				tell()
			}
		})
		before := len(seen)
		maps.DeleteFunc(seen, func(_ string, s heardService) bool { return time.Since(s.at) >= unheard })
		if len(seen) != before || first && before == 0 {
			tell()
		}
		await(ctx, nil, watchPause)
	}
	return nil
}

func (w Watch) round(ctx context.Context, found func(Service)) {
	on := w.Interfaces()
	ctx, end := context.WithTimeout(ctx, watchRound)
	defer end()
	if len(on) == 0 {
		<-ctx.Done()
		return
	}
	if err := w.browse(ctx, w.Type, on, found); err != nil {
		w.Log.Debug("cannot browse the LAN", "reason", w.Type, "err", err)
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
