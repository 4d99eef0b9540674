package agent

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"meshd/agent/localapi"
	"meshd/agent/tunnel"
	"meshd/agent/tunnel/filter"
)

// Words of settings.
const (
	wordAuto = "auto"
	wordOn   = "on"
	wordOff  = "off"
	wordNone = "none" // no endpoints
)

const (
	// maxAdvertise leaves room for the addresses that the agent finds by itself.
	maxAdvertise = 8

	defaultSearchRate = 100 // probes a second
	maxSearchRate     = 300
)

// setting is what the owner may choose, by a flag of `meshd up` or by `meshd set`.
// It lasts: the state holds it.
type setting struct {
	key, help string
	fallback  string                     // what holds until another is chosen
	valid     string                     // what may be chosen, in words
	flag      func(*Config) string       // what the command line says; "": nothing
	get       func(*state) string        // what was chosen; "": nothing
	put       func(*state, string) error // its error names the value
	// heed makes a mesh that is up do it. Nil: only one made anew does.
	heed func(*loop, context.Context)
}

// settings are in the order in which they are shown.
var settings = []setting{
	word("dns", "make the mesh's names known to this machine's programs", wordAuto, []string{wordAuto, wordOff},
		func(c *Config) *string { return &c.DNS }, func(s *state) *string { return &s.DNS }, (*loop).heedDNS),
	word("mdns", "speak multicast DNS, by which members on a LAN and services for the mesh are found", wordAuto, []string{wordAuto, wordOff},
		func(c *Config) *string { return &c.MDNS }, func(s *state) *string { return &s.MDNS }, (*loop).heedMDNS),
	word("port-mapping", "ask gateways to forward the UDP port", wordAuto, []string{wordAuto, wordOff},
		func(c *Config) *string { return &c.PortMapping }, func(s *state) *string { return &s.PortMapping }, nil),
	{
		key: "advertise-endpoint", help: "ADDR:PORT outside that you forward to the UDP port", fallback: wordNone,
		valid: fmt.Sprintf("up to %d of ADDR:PORT with commas between, or none", maxAdvertise),
		flag:  func(c *Config) string { return endpointWords(c.Advertise) },
		get:   func(s *state) string { return endpointWords(s.Advertise) },
		put:   putAdvertise,
	},
	word("relay", "relay for other members: auto if anyone can reach this machine", wordAuto, []string{wordAuto, wordOn, wordOff},
		func(c *Config) *string { return &c.Relay }, func(s *state) *string { return &s.Relay }, (*loop).heedRelaying),
	word("use-relays", "have members relay; off leaves the coordinator alone", wordOn, []string{wordOn, wordOff},
		func(c *Config) *string { return &c.UseRelays }, func(s *state) *string { return &s.UseRelays }, (*loop).heedRelaying),
	{
		key: "search-rate", help: "probes a second of a search for ports behind a hard NAT; 0: none", fallback: strconv.Itoa(defaultSearchRate),
		valid: fmt.Sprintf("a number from 0 to %d", maxSearchRate),
		flag:  func(c *Config) string { return c.SearchRate },
		get:   func(s *state) string { return s.SearchRate },
		put:   putSearchRate,
		heed:  (*loop).heedSearchRate,
	},
	word("metered", "every packet costs, so no such search; auto if NetworkManager says so, or the default route is a modem's or a tethered phone's", wordAuto, []string{wordAuto, wordOn, wordOff},
		func(c *Config) *string { return &c.Metered }, func(s *state) *string { return &s.Metered }, (*loop).heedMetered),
	{
		key: "fwmark", help: "firewall mark of what the mesh sends beyond the LAN, for routing rules; Linux", fallback: wordOff,
		valid: "a number of 32 bits, 0x… if you like, or off",
		flag:  func(c *Config) string { return c.FWMark },
		get:   func(s *state) string { return s.FWMark },
		put:   putMark,
	},
	{
		key: "inbound", help: "what other members may begin on this machine; answers always come in", fallback: inboundAll,
		valid: filter.Syntax,
		flag:  func(c *Config) string { return c.Inbound },
		get:   func(s *state) string { return s.Inbound },
		put:   putInbound,
		heed:  (*loop).heedInbound,
	},
}

// word is a setting that is one of a few words.
func word(key, help, fallback string, words []string, said func(*Config) *string, kept func(*state) *string, heed func(*loop, context.Context)) setting {
	last := len(words) - 1
	return setting{
		key: key, help: help, fallback: fallback, valid: strings.Join(words[:last], ", ") + " or " + words[last],
		flag: func(c *Config) string { return *said(c) },
		get:  func(s *state) string { return *kept(s) },
		put: func(s *state, value string) error {
			if !slices.Contains(words, value) {
				return fmt.Errorf("%s %q is unknown", key, value)
			}
			*kept(s) = value
			return nil
		},
		heed: heed,
	}
}

func putSearchRate(s *state, value string) error {
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil || n > maxSearchRate {
		return fmt.Errorf("search-rate %q is no number from 0 to %d", value, maxSearchRate)
	}
	s.SearchRate = strconv.FormatUint(n, 10)
	return nil
}

// searchRate is what punch is told: below 0 is none at all.
func (s *state) searchRate() int {
	switch n, err := strconv.Atoi(s.SearchRate); {
	case err != nil:
		return defaultSearchRate
	case n == 0:
		return -1
	default:
		return n
	}
}

func putAdvertise(s *state, value string) error {
	list := []netip.AddrPort{}
	for part := range strings.SplitSeq(value, ",") {
		if value == wordNone {
			break
		}
		e, err := ParseEndpoint(strings.TrimSpace(part))
		if err != nil {
			return err
		}
		if !slices.Contains(list, e) {
			list = append(list, e)
		}
	}
	if err := checkAdvertise(list); err != nil {
		return err
	}
	s.Advertise = list
	return nil
}

func checkAdvertise(list []netip.AddrPort) error {
	if n := len(list); n > maxAdvertise {
		return localapi.WithHint(fmt.Errorf("%d endpoints to advertise: at most %d can be", n, maxAdvertise), "name those that others reach best")
	}
	return nil
}

// endpointWords is the inverse of putAdvertise; nil, which says nothing, is "".
func endpointWords(list []netip.AddrPort) string {
	switch {
	case list == nil:
		return ""
	case len(list) == 0:
		return wordNone
	}
	words := make([]string, len(list))
	for i, e := range list {
		words[i] = e.String()
	}
	return strings.Join(words, ",")
}

// checkSettings refuses what the command line says in vain.
func (c Config) checkSettings() error {
	if err := checkAdvertise(c.Advertise); err != nil {
		return err
	}
	if !slices.Contains([]string{"", tunnel.Auto, tunnel.Kernel, tunnel.Userspace}, c.Backend) {
		_, err := tunnel.Choose(c.Backend)
		return explain(err)
	}
	return c.ontoState(&state{})
}

// ontoState puts what the command line says into s.
func (c Config) ontoState(s *state) error {
	for _, one := range settings {
		if value := one.flag(&c); value != "" {
			if err := one.put(s, value); err != nil {
				return localapi.WithHint(err, "use "+one.valid)
			}
		}
	}
	return nil
}

// keepSettings makes what the command line said what later starts do.
func (l *loop) keepSettings() {
	before := l.state
	if err := l.cfg.ontoState(&l.state); err != nil {
		l.log.Warn("settings not kept", "err", err)
	}
	l.fwmark.Store(l.state.mark())
	if len(changedSettings(&before, &l.state)) > 0 {
		l.saveState()
	}
}

// changedSettings are those by which two states differ.
func changedSettings(a, b *state) (list []setting) {
	for _, s := range settings {
		if s.value(a) != s.value(b) {
			list = append(list, s)
		}
	}
	return list
}

// value is what holds.
func (s setting) value(of *state) string {
	if v := s.get(of); v != "" {
		return v
	}
	return s.fallback
}

// settingChange is a wish of the local API about settings.
type settingChange struct {
	values map[string]string
	done   chan error // capacity 1
}

// changeSettings carries out a wish, all of it or nothing. What it leads to is
// saved before it counts.
func (l *loop) changeSettings(ctx context.Context, c settingChange) error {
	next := l.state
	if err := putSettings(&next, c.values); err != nil {
		c.done <- err
		return nil
	}
	changed := changedSettings(&l.state, &next)
	if len(changed) == 0 {
		c.done <- nil
		return nil
	}
	if err := l.keep(next); err != nil {
		c.done <- err
		return nil
	}
	l.fwmark.Store(l.state.mark())
	err := l.heed(ctx, changed)
	l.show() // who hears of it must find it so
	c.done <- err
	return err
}

// heed makes a mesh that is up do what changed, at once. If it is made anew for
// one, that is for all of them.
func (l *loop) heed(ctx context.Context, changed []setting) error {
	if l.plane == nil {
		return nil
	}
	for _, s := range changed {
		l.log.Info("setting changed", "setting", s.key, "value", s.value(&l.state))
	}
	if slices.ContainsFunc(changed, func(s setting) bool { return s.heed == nil }) {
		l.lower()
		return l.raise(ctx)
	}
	for _, s := range changed {
		s.heed(l, ctx)
	}
	return nil
}

func putSettings(s *state, values map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		i := slices.IndexFunc(settings, func(s setting) bool { return s.key == key })
		if i < 0 {
			return errNoSetting(key)
		}
		if err := settings[i].put(s, values[key]); err != nil {
			return localapi.WithHint(err, "use "+settings[i].valid)
		}
	}
	return nil
}

func errNoSetting(key string) error {
	var keys []string
	for _, s := range settings {
		keys = append(keys, s.key)
	}
	return localapi.WithHint(fmt.Errorf("there is no setting %q", key), "there are "+strings.Join(keys, ", "))
}
