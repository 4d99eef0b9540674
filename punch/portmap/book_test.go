package portmap

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var (
	home4  = Gateway{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("192.168.1.2")}
	hotel4 = Gateway{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}
	home6  = Gateway{netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("2a00::2")}

	at1     = netip.MustParseAddrPort("62.20.0.1:41641")
	at2     = netip.MustParseAddrPort("62.20.0.1:50000")
	silence = errors.New("no answer")
)

func give(external netip.AddrPort, life time.Duration, up uint32) grant {
	return grant{external: external, lifetime: life, uptime: uptime{true, up}}
}

// told writes actions the way the stories below do.
func told(do []action) string {
	var words []string
	for _, a := range do {
		switch a := a.(type) {
		case search:
			words = append(words, fmt.Sprintf("search %d", a.site))
		case ask:
			verb := "ask"
			if a.before.external.IsValid() {
				verb = "renew"
			}
			words = append(words, fmt.Sprintf("%s %d %v", verb, a.site, a.protocol))
		case check:
			words = append(words, fmt.Sprintf("check %d", a.site))
		case remove:
			words = append(words, fmt.Sprintf("remove %d", a.site))
		case report:
			var list []string
			for _, m := range a.mappings {
				list = append(list, m.External.String())
			}
			words = append(words, "report ["+strings.Join(list, " ")+"]")
		}
	}
	return strings.Join(words, ", ")
}

func TestBook(t *testing.T) {
	const hours2 = 2 * time.Hour
	type line struct {
		at   time.Duration
		ev   event
		want string
	}
	now := gateways{[]Gateway{home4}}
	mapped := func(p Protocol, g grant) []line { // as all stories begin that need a mapping
		story := []line{{0, now, "search 1"}}
		for _, other := range home4.protocols() {
			if other != p {
				story = append(story, line{0, found{1, other, silence}, ""})
			}
		}
		return append(story,
			line{0, found{1, p, nil}, "ask 1 " + p.String()},
			line{0, granted{1, p, g}, "report [" + g.external.String() + "]"})
	}
	const s = time.Second
	for name, story := range map[string][]line{
		"the best that answers is asked at once": {
			{0, now, "search 1"},
			{0, found{1, PCP, nil}, "ask 1 PCP"},
			{0, granted{1, PCP, give(at1, hours2, 5)}, "report [62.20.0.1:41641]"},
			{0, found{1, NATPMP, nil}, ""},
			{0, found{1, UPnP, nil}, ""},
		},
		"another waits out the grace": {
			{0, now, "search 1"},
			{0, found{1, UPnP, nil}, ""},
			{grace - 1, tick{}, ""},
			{grace, tick{}, "ask 1 UPnP"},
		},
		"a better one within the grace comes first": {
			{0, now, "search 1"},
			{0, found{1, UPnP, nil}, ""},
			{grace / 2, found{1, NATPMP, nil}, ""},
			{grace, tick{}, "ask 1 NAT-PMP"},
		},
		"a late answer is used when the first one refused": {
			{0, now, "search 1"},
			{0, found{1, PCP, silence}, ""},
			{0, found{1, NATPMP, nil}, "ask 1 NAT-PMP"},
			{0, refused{1, NATPMP, refuse("no")}, ""},
			{2 * s, found{1, UPnP, nil}, "ask 1 UPnP"},
		},
		"nothing there: it rests, ever longer": {
			{0, now, "search 1"},
			{0, found{1, PCP, silence}, ""},
			{0, found{1, NATPMP, silence}, ""},
			{3 * s, found{1, UPnP, silence}, ""},
			{32 * s, tick{}, ""},
			{33 * s, tick{}, "search 1"},
			{34 * s, found{1, PCP, silence}, ""},
			{34 * s, found{1, NATPMP, silence}, ""},
			{34 * s, found{1, UPnP, silence}, ""},
			{93 * s, tick{}, ""},
			{94 * s, tick{}, "search 1"},
		},
		"a refusal's own time is honoured": {
			{0, now, "search 1"},
			{0, found{1, NATPMP, silence}, ""},
			{0, found{1, UPnP, silence}, ""},
			{0, found{1, PCP, nil}, "ask 1 PCP"},
			{0, refused{1, PCP, &refusal{reason: "not authorized", wait: 10 * time.Minute}}, ""},
			{599 * s, tick{}, ""},
			{600 * s, tick{}, "search 1"},
		},
		"renewed at half life": append(mapped(PCP, give(at1, hours2, 0)),
			line{time.Hour, tick{}, "renew 1 PCP"},
			line{time.Hour, granted{1, PCP, give(at1, hours2, 3600)}, "report [62.20.0.1:41641]"},
			line{2*time.Hour - 1, tick{}, "check 1"},
		),
		"no answer to renewals: asked again until it expires": append(mapped(PCP, give(at1, 100*s, 0)),
			line{50 * s, tick{}, "renew 1 PCP"},
			line{50 * s, refused{1, PCP, silence}, ""},
			line{75 * s, tick{}, "renew 1 PCP"},
			line{75 * s, refused{1, PCP, silence}, ""},
			line{100 * s, tick{}, "search 1, report []"},
		),
		"a refused renewal ends the mapping": append(mapped(NATPMP, give(at1, 100*s, 0)),
			line{50 * s, tick{}, "renew 1 NAT-PMP"},
			line{50 * s, refused{1, NATPMP, refuse("no")}, "search 1, report []"},
		),
		"the epoch went back: mapped again at once": append(mapped(PCP, give(at1, hours2, 5000)),
			line{60 * s, tick{}, "check 1"},
			line{60 * s, checked{1, finding{uptime: uptime{true, 5060}}, nil}, ""},
			line{70 * s, announced{1}, "check 1"},
			line{70 * s, checked{1, finding{uptime: uptime{true, 1}}, nil}, "renew 1 PCP"},
			line{71 * s, granted{1, PCP, give(at2, hours2, 2)}, "report [62.20.0.1:50000]"},
			line{131 * s, tick{}, "check 1"},
			line{131 * s, checked{1, finding{uptime: uptime{true, 62}}, nil}, ""},
		),
		"lost, and the gateway is not up yet: asked again soon": append(mapped(PCP, give(at1, hours2, 5000)),
			line{s, announced{1}, "check 1"},
			line{s, checked{1, finding{uptime: uptime{true, 1}}, nil}, "renew 1 PCP"},
			line{3 * s, refused{1, PCP, silence}, ""},
			line{13 * s, tick{}, "renew 1 PCP"},
			line{13 * s, granted{1, PCP, give(at1, hours2, 13)}, "report [62.20.0.1:41641]"},
			line{63 * s, tick{}, ""},
		),
		"an unanswered check changes nothing": append(mapped(UPnP, grant{external: at1}),
			line{119 * s, tick{}, ""},
			line{120 * s, tick{}, "check 1"},
			line{123 * s, checked{1, finding{}, silence}, ""},
			line{243 * s, tick{}, "check 1"},
			line{243 * s, checked{1, finding{lost: true}, nil}, "renew 1 UPnP"},
		),
		"a permanent mapping is never renewed": append(mapped(UPnP, grant{external: at1}),
			line{1000 * time.Hour, tick{}, "check 1"},
			line{1000 * time.Hour, stop{}, "remove 1"},
		),
		"another network: the old mapping is given back": append(mapped(PCP, give(at1, hours2, 0)),
			line{s, gateways{[]Gateway{hotel4}}, "remove 1, search 2, report []"},
			line{s, announced{1}, ""},
		),
		"the same network: the mapping is checked": append(mapped(PCP, give(at1, hours2, 0)),
			line{s, now, "check 1"},
			line{s, now, ""},
		),
		"both families": {
			{0, gateways{[]Gateway{home4, home6}}, "search 1, search 2"},
			{0, found{1, PCP, nil}, "ask 1 PCP"},
			{0, found{2, PCP, nil}, "ask 2 PCP"},
			{0, granted{2, PCP, give(netip.MustParseAddrPort("[2a00::2]:41641"), hours2, 0)}, "report [[2a00::2]:41641]"},
			{0, granted{1, PCP, give(at1, hours2, 0)}, "report [62.20.0.1:41641 [2a00::2]:41641]"},
		},
		"what comes after the end is given back": {
			{0, now, "search 1"},
			{0, found{1, PCP, nil}, "ask 1 PCP"},
			{0, stop{}, ""},
			{s, granted{1, PCP, give(at1, hours2, 0)}, "remove 1"},
		},
		"silence after the end may hide a grant": append(mapped(PCP, give(at1, 100*s, 0)),
			line{50 * s, tick{}, "renew 1 PCP"},
			line{51 * s, stop{}, ""},
			line{52 * s, refused{1, PCP, silence}, "remove 1"},
		),
		"away and back while an answer is awaited": {
			{0, now, "search 1"},
			{0, found{1, PCP, nil}, "ask 1 PCP"},
			{s, gateways{}, ""},
			{s, now, ""},
			{2 * s, granted{1, PCP, give(at1, hours2, 0)}, "report [62.20.0.1:41641]"},
		},
		"a link that flaps does not search each time": {
			{0, now, "search 1"},
			{0, found{1, PCP, silence}, ""},
			{0, found{1, NATPMP, silence}, ""},
			{0, found{1, UPnP, silence}, ""},
			{s, now, ""},
			{2 * s, announced{1}, ""},
			{5 * s, tick{}, "search 1"},
		},
		"families that do not fit are no gateway": {
			{0, gateways{[]Gateway{{home4.Addr, home6.Local}, {home4.Addr, netip.Addr{}}}}, ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b book
			for i, l := range story {
				if got := told(b.step(epochStart.Add(l.at), l.ev)); got != l.want {
					t.Fatalf("line %d, %T at %v: got %q, want %q", i+1, l.ev, l.at, got, l.want)
				}
			}
		})
	}
}

var epochStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func errIf(absent bool) error {
	if absent {
		return silence
	}
	return nil
}

// TestBookInDisorder lets gateways answer in any way and order, networks come and
// go, and holds the book to its promises.
func TestBookInDisorder(t *testing.T) {
	for seed := range uint64(3000) {
		w := &disorder{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), now: epochStart, granted: map[siteID]time.Time{}}
		for range 200 {
			w.turn()
		}
		w.end()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// disorder is a world in which anything may happen to a book.
type disorder struct {
	t       *testing.T
	rnd     *rand.Rand
	now     time.Time
	book    book
	awaited []action
	granted map[siteID]time.Time // until when gateways have a mapping for us
}

func (w *disorder) turn() {
	w.now = w.now.Add(time.Duration(w.rnd.ExpFloat64() * float64(200*time.Millisecond)))
	switch n := w.rnd.IntN(20); {
	case n == 0:
		var list []Gateway
		for _, g := range []Gateway{home4, hotel4, home6} {
			if w.rnd.IntN(2) == 0 {
				list = append(list, g)
			}
		}
		w.step(gateways{list})
	case n == 1:
		w.step(announced{siteID(w.rnd.IntN(int(w.book.last) + 1))})
	case n < 5:
		if next := w.book.next(); next.After(w.now) {
			w.now = next
		}
		w.step(tick{})
		if next := w.book.next(); !next.IsZero() && !next.After(w.now) {
			w.t.Errorf("after a tick at %v another one is due at %v", w.now, next)
		}
	case len(w.awaited) > 0:
		w.answer(w.rnd.IntN(len(w.awaited)))
	}
}

func (w *disorder) step(ev event) {
	for _, a := range w.book.step(w.now, ev) {
		switch a := a.(type) {
		case ask, check:
			for _, other := range w.awaited {
				if siteOf(other) == siteOf(a) {
					w.t.Errorf("%T while %T is under way at site %d", a, other, siteOf(a))
				}
			}
			w.awaited = append(w.awaited, a)
		case search:
			for _, p := range a.gateway.protocols() {
				w.awaited = append(w.awaited, found{a.site, p, nil})
			}
		case remove:
			delete(w.granted, a.site)
		}
	}
}

// siteOf is the site whose mapping an action is about; 0 for others.
func siteOf(a action) siteID {
	switch a := a.(type) {
	case ask:
		return a.site
	case check:
		return a.site
	}
	return 0
}

func (w *disorder) answer(i int) {
	a := w.awaited[i]
	w.awaited = append(w.awaited[:i:i], w.awaited[i+1:]...)
	lot := w.rnd.IntN(3)
	switch a := a.(type) {
	case found:
		a.err = errIf(lot == 0)
		w.step(a)
	case check:
		w.step(checked{a.site, finding{lost: lot == 0, uptime: uptime{true, w.rnd.Uint32N(1000)}}, errIf(lot == 1)})
	case ask:
		switch lot {
		case 0:
			w.step(refused{a.site, a.protocol, silence})
		case 1:
			delete(w.granted, a.site)
			w.step(refused{a.site, a.protocol, refuse("no")})
		default:
			g := give(at1, minLifetime+time.Duration(w.rnd.IntN(100))*time.Second, w.rnd.Uint32N(1000))
			w.granted[a.site] = w.now.Add(g.lifetime)
			w.step(granted{a.site, a.protocol, g})
		}
	}
}

// end stops the book: when all is answered, nothing may be left at a gateway but
// what ran out by itself.
func (w *disorder) end() {
	w.step(stop{})
	for len(w.awaited) > 0 {
		w.answer(0)
	}
	if len(w.book.sites) != 0 {
		w.t.Errorf("%d sites are left", len(w.book.sites))
	}
	for id, end := range w.granted {
		if w.now.Before(end) {
			w.t.Errorf("a mapping at site %d is left", id)
		}
	}
	if next := w.book.next(); !next.IsZero() {
		w.t.Errorf("a tick is wanted at %v", next)
	}
}
