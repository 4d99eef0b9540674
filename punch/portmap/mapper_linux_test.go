package portmap

import (
	"context"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// running is a Mapper in a test.
type running struct {
	*Mapper
	told chan []Mapping
	end  func() time.Duration // ends it and says how long that took
}

func start(t *testing.T, list func() []Gateway) running {
	t.Helper()
	r := running{told: make(chan []Mapping, 16)}
	r.Mapper = New(Config{
		Gateways: func() ([]Gateway, error) { return list(), nil },
		Port:     41641,
		Changed:  func(list []Mapping) { r.told <- list },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.end = func() time.Duration {
		began := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		done <- nil
		return time.Since(began)
	}
	t.Cleanup(func() { r.end() })
	return r
}

func (r running) next(t *testing.T) []Mapping {
	t.Helper()
	select {
	case list := <-r.told:
		return list
	case <-time.After(5 * time.Second):
		t.Fatal("no change of mappings within 5s")
		return nil
	}
}

// mappings counts what a fake gateway was asked to do.
type mappings struct{ made, removed atomic.Int32 }

// left reports whether the gateway still has a mapping.
func (m *mappings) left() bool { return m.made.Load() > 0 && m.removed.Load() == 0 }

// pcpGateway is a fake that speaks PCP.
func pcpGateway(t *testing.T, external string) (target, *mappings) {
	to, count := fakeTarget(t), new(mappings)
	serveUDP(t, to.gateway.Addr, pcpPort, func(b []byte) [][]byte {
		if b[0] != pcpVersion {
			return nil
		}
		life := uint32(7200)
		if b[1] == pcpMap {
			if slices.Equal(b[4:8], []byte{0, 0, 0, 0}) {
				count.removed.Add(1)
				life = 0
			} else {
				count.made.Add(1)
			}
		}
		return [][]byte{pcpAnswerTo(b, external, life, 1)}
	})
	return to, count
}

// upnpGateway is a fake that speaks UPnP alone, and is silent at PCP's port.
func upnpGateway(t *testing.T) (target, *table) {
	to, router := fakeTarget(t), newTable("62.20.0.1")
	fakeIGD{description: description1("%s"), soap: router.call}.serve(t, to.gateway.Addr)
	serveUDP(t, to.gateway.Addr, pcpPort, func([]byte) [][]byte { return nil })
	return to, router
}

func only(g Gateway) func() []Gateway { return func() []Gateway { return []Gateway{g} } }

func TestFirstMappingIsQuick(t *testing.T) {
	pcp, mapped := pcpGateway(t, "62.20.0.1:41641")
	upnp, router := upnpGateway(t)
	for _, to := range []target{pcp, upnp} {
		began := time.Now()
		m := start(t, only(to.gateway))
		list := m.next(t)
		took := time.Since(began)
		if len(list) != 1 || list[0].External.String() != "62.20.0.1:41641" || !list[0].Trusted {
			t.Errorf("got %+v", list)
		}
		t.Logf("%v after %v", list[0].Protocol, took)
		if took > 250*time.Millisecond {
			t.Errorf("the first mapping by %v took %v, want 250ms at most", list[0].Protocol, took)
		}
		m.end()
	}
	if mapped.left() || len(router.leases) != 0 {
		t.Errorf("mappings are left: by PCP %v, %d by UPnP", mapped.left(), len(router.leases))
	}
}

func TestSharedAddressIsNotTrusted(t *testing.T) {
	to, _ := pcpGateway(t, "100.64.3.4:41641")
	list := start(t, only(to.gateway)).next(t)
	if len(list) != 1 || list[0].Trusted || list[0].External.String() != "100.64.3.4:41641" {
		t.Errorf("got %+v, want it told but not trusted", list)
	}
}

func TestUselessGrantIsReturned(t *testing.T) {
	to, mapped := pcpGateway(t, "0.0.0.0:41641")
	m := start(t, only(to.gateway))
	await(t, "the mapping was given back", func() bool { return mapped.removed.Load() == 1 })
	m.end()
	if len(m.told) != 0 {
		t.Errorf("got %+v, want no mapping", <-m.told)
	}
}

func TestMappingFollowsTheGateway(t *testing.T) {
	first, firstMapped := pcpGateway(t, "62.20.0.1:41641")
	second, secondMapped := pcpGateway(t, "62.20.0.2:41641")
	var now atomic.Pointer[Gateway]
	now.Store(&first.gateway)
	m := start(t, func() []Gateway { return []Gateway{*now.Load()} })
	m.next(t)
	now.Store(&second.gateway)
	m.Refresh()
	if list := m.next(t); len(list) != 0 {
		t.Errorf("after the change: got %+v, want nothing", list)
	}
	if list := m.next(t); len(list) != 1 || list[0].External.Addr() != netip.MustParseAddr("62.20.0.2") {
		t.Errorf("at the second gateway: got %+v", list)
	}
	await(t, "the first mapping was given back", func() bool { return !firstMapped.left() })
	m.end()
	if secondMapped.left() {
		t.Error("the second mapping is left")
	}
}

func TestHangingGatewayDoesNotHoldUpTheEnd(t *testing.T) {
	to := fakeTarget(t)
	var asked atomic.Bool
	serveUDP(t, to.gateway.Addr, pcpPort, func(b []byte) [][]byte {
		if b[1] != pcpAnnounce || b[0] != pcpVersion {
			asked.Store(b[0] == pcpVersion || asked.Load())
			return nil
		}
		return [][]byte{pcpAnswerTo(b, "62.20.0.1:1", 0, 1)}
	})
	m := start(t, only(to.gateway))
	await(t, "a mapping was asked for", asked.Load)
	if took := m.end(); took > stopTimeout+time.Second/2 {
		t.Errorf("the end took %v, want %v at most", took, stopTimeout)
	}
}

func TestNoGateway(t *testing.T) {
	m := start(t, func() []Gateway { return nil })
	m.Refresh()
	if took := m.end(); took > time.Second {
		t.Errorf("the end took %v", took)
	}
}

func TestProbe(t *testing.T) {
	to, mapped := pcpGateway(t, "62.20.0.1:41641")
	m := New(Config{Gateways: func() ([]Gateway, error) { return []Gateway{to.gateway}, nil }, Port: 41641})
	report, err := m.Probe(t.Context())
	if err != nil || len(report.Answers) != 3 || !slices.Equal(report.Available(), []Protocol{PCP}) {
		t.Errorf("got %+v, error %v, want PCP alone of three", report, err)
	}
	for _, a := range report.Answers {
		t.Logf("%v: %v", a.Protocol, a.Err)
	}
	if mapped.made.Load() != 0 {
		t.Error("a probe made a mapping")
	}
}

func await(t *testing.T, what string, true func() bool) {
	t.Helper()
	pause := time.NewTicker(5 * time.Millisecond)
	defer pause.Stop()
	for end := time.Now().Add(5 * time.Second); !true(); <-pause.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
