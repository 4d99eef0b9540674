package punch

import (
	"testing"
	"testing/synctest"
	"time"

	"meshd/punch/nattest"
	"meshd/punch/wire"
)

// TestReflectors has a NAT that maps by address meet a port-restricted one, where
// the hub has one address and can't tell.
func TestReflectors(t *testing.T) {
	random, counting, keeping := nattest.AddressSymmetric, nattest.AddressSymmetric, nattest.AddressSymmetric
	counting.Allocation, keeping.Allocation = nattest.Sequential(1), nattest.Preserving()
	public := []nattest.NAT(nil)
	for _, tt := range []struct {
		name    string
		nat     nattest.NAT
		warm    bool // the mesh is small: all are punched before anyone asks
		others  [][]nattest.NAT
		crossed string
	}{
		{"a public member in a small mesh", random, true, [][]nattest.NAT{public}, "birthday"},
		{"a public member in a large mesh", random, false, [][]nattest.NAT{public}, "birthday"},
		{"a member behind a restricted cone", random, false, [][]nattest.NAT{{nattest.RestrictedCone}}, "birthday"},
		{"a NAT that counts ports", counting, false, [][]nattest.NAT{public}, "predicted"},
		{"a NAT that keeps ports, and two to tell that it is no exception", keeping, false, [][]nattest.NAT{public, public}, "predicted"},
		{"a NAT that keeps ports, and one who can't", keeping, false, [][]nattest.NAT{public}, ""},
		{"a member that lets nobody in who is unexpected", random, false, [][]nattest.NAT{{nattest.Linux}}, ""},
		{"nobody else in a small mesh", random, true, nil, ""},
		{"nobody else in a large mesh", random, false, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for try := uint64(1); ; try++ {
				m := reflected(t, try, tt.nat, tt.warm, tt.others)
				if want := wire.AddressDependent; tt.crossed != "" && (m.nat.Mapping != want || !m.sure) {
					t.Errorf("got mapping %d, sure %v, want %d", m.nat.Mapping, m.sure, want)
				}
				if tt.crossed == "" && (m.nat.Mapping != wire.EndpointIndependent || m.sure) {
					t.Errorf("got mapping %d, sure %v of a hub that can't tell", m.nat.Mapping, m.sure)
				}
				if m.crossed == tt.crossed {
					t.Logf("crossed %q after %v", m.crossed, m.after)
					return
				}
				if m.crossed != "" || try == searches {
					t.Fatalf("crossed %q, want %q", m.crossed, tt.crossed)
				}
			}
		})
	}
}

// mirrored is how a pair got together that a third may have helped.
type mirrored struct {
	crossed string
	after   time.Duration // from the first packet on
	nat     wire.NAT      // as the one who maps by address tells it
	sure    bool
}

func reflected(t *testing.T, seed uint64, nat nattest.NAT, warm bool, others [][]nattest.NAT) (m mirrored) {
	const span = 30 * time.Second
	synctest.Test(t, func(t *testing.T) {
		w := newWorldWith(t, nattest.Config{Seed: seed})
		defer w.close()
		add := w.add
		if warm {
			add = w.addWarm
		}
		for i, nats := range others {
			add([]string{"carol", "dave"}[i], nats...)
		}
		a, b := add("alice", nat), add("bob", nattest.PortRestricted)
		time.Sleep(5 * time.Second)
		start := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			a.stream(b, 50*time.Millisecond, span)
		}()
		for time.Since(start) < span && m.after == 0 {
			if a.directTo(b) && b.directTo(a) {
				m.after = time.Since(start)
				for _, tried := range a.path(b).Attempts {
					m.crossed = tried.Strategy
				}
			}
			time.Sleep(5 * time.Millisecond)
		}
		l := a.Status().Local
		m.nat, m.sure = l.NAT, l.MappingSure
		<-done
	})
	return m
}

// A mesh without anyone who could tell is not asked over and over.
func TestReflectorsAreFew(t *testing.T) {
	const hub = "198.51.100.1:11"
	o := sightings(hub1, ap(hub), hub2, ap(hub))
	public := wire.NAT{Mapping: wire.EndpointIndependent, Filtering: wire.AddressDependent}
	of := func(n byte, addr string, nat wire.NAT) reflector {
		return reflector{key: Key{n}, candidates: []wire.Candidate{{Kind: wire.Reflexive, Addr: ap(addr)}}, nat: nat}
	}
	list := []reflector{
		of(1, "203.0.113.1:9", public),
		of(2, "198.51.100.1:9", public),
		of(3, "203.0.113.13:9", natEasy),
		of(4, "203.0.113.14:9", natRandom),
		of(5, "203.0.113.15:9", wire.NAT{}),
		of(6, "[2001:db8::6]:9", public),
		of(8, "203.0.113.18:9", public),
		of(9, "203.0.113.19:9", public),
		of(10, "203.0.113.20:9", public),
		of(11, "203.0.113.21:9", public),
		of(15, "203.0.113.25:9", public),
	}
	list[len(list)-1].met = true
	o.viewed(time.Unix(0, 0), ap("203.0.113.19:9"), ap(hub))
	if o.wantsReflector() {
		t.Error("asks though a peer at another address agrees with the hub")
	}
	clear(o.viewers)
	for _, want := range []byte{15, 8, 9} {
		if !o.wantsReflector() {
			t.Fatalf("does not want peer %d", want)
		}
		if got, ok := o.pickReflector(Key{8}, list); !ok || got != (Key{want}) {
			t.Errorf("picked %d, want %d: those with a path, then the nearest", got[0], want)
		}
	}
	if o.wantsReflector() {
		t.Error("asks a fourth")
	}
	o.forget()
	if len(o.reflectors) != 0 {
		t.Error("does not begin again after a change of address")
	}
}

func TestMappingSure(t *testing.T) {
	const hub = "198.51.100.1:11"
	same := ap("192.168.1.2:7000")
	for _, tt := range []struct {
		name string
		o    *observer
		want bool
	}{
		{"nobody saw us", sightings(), false},
		{"two ports agree", sightings(hub1, ap(hub), hub2, ap(hub)), false},
		{"two ports differ", sightings(hub1, ap(hub), hub2, ap("198.51.100.1:22")), true},
		{"two addresses agree", sightings(hub1, ap(hub), other, ap(hub)), true},
		{"no NAT", sightings(hub1, same, hub2, same), true},
	} {
		if got := tt.o.local().MappingSure; got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A peer is asked by an attempt of its own, or straight where there is a path.
func TestMirror(t *testing.T) {
	s := newStage(t, true)
	s.event(peerChanged{candidates: theirCans, online: true})
	s.event(mirror{routeTo(theirs)})
	s.pass(time.Minute)
	if got := s.p.status(s.now).Attempts; len(got) != 1 || got[0].Why != "to see how our NAT maps" {
		t.Errorf("got %+v, want one attempt", got)
	}
	if s.p.failures == 0 {
		t.Error("a failure that does not show: the peer would be picked again")
	}

	s = newStage(t, true)
	s.event(peerChanged{candidates: theirCans, online: true})
	s.direct(theirLAN, time.Millisecond)
	s.event(mirror{routeTo(theirs)})
	if len(s.sent) != 1 || s.sent[0].typ != wire.Ping || s.sent[0].to.addr != theirs {
		t.Errorf("sent %v, want a PING to %v", s.log(), theirs)
	}
}
