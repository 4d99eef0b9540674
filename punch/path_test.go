package punch

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"meshd/punch/wire"
)

// stage plays a path without a network: time moves when told to, and what the
// path sends is written down.
type stage struct {
	t     *testing.T
	p     *path
	start time.Time
	now   time.Time
	sent  []sent
	kicks int
	last  choice
	reply func(s sendProbe) bool // whether the peer answers a PING at once

	sockets int // opened so far
	open    map[socketID]bool
	refuse  bool // what a path claims
}

type sent struct {
	at time.Duration
	sendProbe
}

func (s sent) String() string {
	to := "relay"
	if !s.to.isZero() {
		to = s.to.addr.Addr().String()
	}
	name := s.typ.String()
	if s.ttl > 0 {
		name += fmt.Sprintf("(ttl %d)", s.ttl)
	}
	return fmt.Sprintf("%d %s %s", s.at.Milliseconds(), name, to)
}

func newStage(t *testing.T, lower bool) *stage {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	s := &stage{t: t, p: newPath(start, lower, 1), start: start, now: start, open: make(map[socketID]bool)}
	s.last = s.p.choice()
	s.event(selfChanged{
		candidates: []wire.Candidate{{Kind: wire.Host, Addr: ap("192.168.1.2:1")}, {Kind: wire.Reflexive, Addr: ap("198.51.100.1:1")}},
		nets:       []netip.Prefix{netip.MustParsePrefix("192.168.1.2/24")}, v4: true, v6: true,
	})
	s.event(relayChanged{ViaRelay, 20 * time.Millisecond})
	return s
}

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

var (
	theirs    = ap("203.0.113.9:9")
	theirLAN  = ap("192.168.1.9:9")
	theirCans = []wire.Candidate{{Kind: wire.Host, Addr: ap("10.0.0.9:9")}, {Kind: wire.Reflexive, Addr: theirs}}
)

func (s *stage) event(ev event) {
	for _, a := range s.p.step(s.now, ev) {
		switch a := a.(type) {
		case sendProbe:
			s.sent = append(s.sent, sent{s.now.Sub(s.start), a})
			if a.typ == wire.Ping && s.reply != nil && s.reply(a) {
				s.event(heard{&wire.Message{Type: wire.Pong, TxID: a.txid}, a.to})
			}
		case use:
			s.last = a.choice
		case kickRelay:
			s.kicks++
		case openSockets:
			s.event(s.socketsOf(a.n))
		case closeSocket:
			delete(s.open, a.id)
		case claim:
			s.event(granted{!s.refuse})
		}
	}
}

// socketsOf opens sockets as the loop does.
func (s *stage) socketsOf(n int) opened {
	var ev opened
	for range n {
		s.sockets++
		id := socket6 + socketID(s.sockets)
		s.open[id] = true
		ev.sockets, ev.ports = append(ev.sockets, id), append(ev.ports, uint16(20000+s.sockets%20000))
	}
	return ev
}

// pass lets time go by, and timers fire.
func (s *stage) pass(d time.Duration) {
	end := s.now.Add(d)
	for range 100_000 {
		at := s.p.deadline()
		if at.IsZero() || at.After(end) {
			s.now = end
			return
		}
		if at.After(s.now) {
			s.now = at
		}
		s.event(timer{})
	}
	s.t.Fatalf("the path never rests: deadline %v at %v", s.p.deadline(), s.now)
}

// flow lets time go by while data is sent (and received) every 50 ms.
func (s *stage) flow(d time.Duration, received bool) {
	for end := s.now.Add(d); s.now.Before(end); {
		ev := traffic{sent: 5}
		if received {
			ev.received = 5
		}
		s.event(ev)
		s.pass(50 * time.Millisecond)
	}
}

func (s *stage) log(types ...wire.ProbeType) string {
	var lines []string
	for _, x := range s.sent {
		if len(types) == 0 || slices.Contains(types, x.typ) {
			lines = append(lines, x.String())
		}
	}
	return strings.Join(lines, "\n")
}

// direct brings the path to the state direct over theirs, with this RTT.
func (s *stage) direct(to netip.AddrPort, rtt time.Duration) {
	s.t.Helper()
	s.event(heard{&wire.Message{Type: wire.Ping}, routeTo(to)})
	s.pong(to, rtt)
	if !s.p.healthy() {
		s.t.Fatalf("not direct: %+v", s.p.status(s.now))
	}
	s.sent = nil
}

// pong answers the last PING to an address after rtt.
func (s *stage) pong(to netip.AddrPort, rtt time.Duration) {
	s.t.Helper()
	for _, x := range slices.Backward(s.sent) {
		if x.typ == wire.Ping && x.to.addr == to {
			s.now = s.start.Add(x.at + rtt)
			s.event(heard{&wire.Message{Type: wire.Pong, TxID: x.txid}, x.to})
			return
		}
	}
	s.t.Fatalf("no PING to %v to answer:\n%s", to, s.log())
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	want = strings.TrimSpace(want)
	if got != want {
		t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

func TestScheduleOfCaller(t *testing.T) {
	s := newStage(t, true)
	s.event(peerChanged{candidates: theirCans, online: true})
	s.event(traffic{sent: 1})
	s.pass(500 * time.Millisecond)
	expect(t, "sent without an answer", s.log(), `
0 connect relay
0 open(ttl 5) 203.0.113.9
5 ping 10.0.0.9
22 ping 203.0.113.9
25 ping 10.0.0.9
42 ping 203.0.113.9
55 ping 10.0.0.9
72 ping 203.0.113.9
105 ping 10.0.0.9
122 ping 203.0.113.9
200 connect relay
205 ping 10.0.0.9
222 ping 203.0.113.9
405 ping 10.0.0.9
422 ping 203.0.113.9`)
	if s.last != (choice{route{}, true}) {
		t.Errorf("data goes over %+v, want the relay", s.last)
	}
}

func TestScheduleOfCalled(t *testing.T) {
	s := newStage(t, false)
	s.event(heard{&wire.Message{Type: wire.Connect, Candidates: theirCans}, route{}})
	s.pass(60 * time.Millisecond)
	expect(t, "sent after a CONNECT", s.log(), `
0 connect relay
0 ping 203.0.113.9
5 ping 10.0.0.9
20 ping 203.0.113.9
25 ping 10.0.0.9
50 ping 203.0.113.9
55 ping 10.0.0.9`)
	if f := s.sent[0].flags; f != wire.FlagReply {
		t.Errorf("flags of the CONNECT = %d, want a reply", f)
	}
}

func TestAnswerEndsWaiting(t *testing.T) {
	s := newStage(t, true)
	s.event(peerChanged{candidates: theirCans[1:], online: true})
	s.event(traffic{sent: 1})
	s.pass(15 * time.Millisecond)
	s.event(heard{&wire.Message{Type: wire.Connect, Flags: wire.FlagReply, Candidates: theirCans[1:]}, route{}})
	s.pass(20 * time.Millisecond)
	expect(t, "sent", s.log(), `
0 connect relay
0 open(ttl 5) 203.0.113.9
15 ping 203.0.113.9
35 ping 203.0.113.9`)
}

func TestTriggeredCheck(t *testing.T) {
	s := newStage(t, false)
	strange := ap("203.0.113.77:7")
	s.event(heard{&wire.Message{Type: wire.Ping, TxID: 5}, routeTo(strange)})
	expect(t, "sent at once", s.log(), "0 pong 203.0.113.77\n0 ping 203.0.113.77\n0 ping 203.0.113.77")
	if want := (choice{routeTo(strange), true}); s.last != want {
		t.Errorf("data goes over %+v, want both ways", s.last)
	}
	s.pong(strange, 40*time.Millisecond)
	if want := (choice{routeTo(strange), false}); s.last != want {
		t.Errorf("data goes over %+v, want the route alone", s.last)
	}
	if got := s.p.status(s.now); got.RTT != 40*time.Millisecond || got.Class != "direct" {
		t.Errorf("status = %+v", got)
	}
}

func TestPongThatProvesNothing(t *testing.T) {
	s := newStage(t, true)
	s.event(peerChanged{candidates: theirCans[1:], online: true})
	s.event(traffic{sent: 1})
	s.pass(50 * time.Millisecond)
	s.event(heard{&wire.Message{Type: wire.Pong, TxID: 12345}, routeTo(theirs)})
	if s.p.cur != nil {
		t.Error("an answer to no question made a path")
	}
	ping := s.sent[len(s.sent)-1]
	other := ap("203.0.113.9:1010")
	s.event(heard{&wire.Message{Type: wire.Pong, TxID: ping.txid}, routeTo(other)})
	if want := (choice{routeTo(other), true}); s.last != want {
		t.Errorf("after an answer from elsewhere: %+v, want %+v tried with both ways", s.last, want)
	}
	s.event(heard{&wire.Message{Type: wire.Pong, TxID: ping.txid}, ping.to})
	if s.p.confirmed {
		t.Error("one answer counted twice")
	}
}

func TestTentativeThatFails(t *testing.T) {
	s := newStage(t, false)
	s.event(heard{&wire.Message{Type: wire.Ping}, routeTo(theirs)})
	s.pass(10 * time.Second)
	if want := (choice{route{}, true}); s.last != want {
		t.Errorf("data goes over %+v, want the relay", s.last)
	}
	if got := s.p.status(s.now); got.Path != ViaNone || got.Reason != "offline" {
		t.Errorf("status = %+v", got)
	}
}

func TestSilence(t *testing.T) {
	s := newStage(t, true)
	s.direct(theirs, 40*time.Millisecond)
	s.reply = func(sendProbe) bool { return true }
	s.pass(12 * time.Second)
	s.flow(time.Second, true)
	s.reply, s.sent, s.start = nil, nil, s.now
	t.Log("the path dies under traffic")
	var suspect, lost time.Duration
	for range 40 {
		s.flow(50*time.Millisecond, false)
		if d := s.now.Sub(s.start); suspect == 0 && s.last.relay {
			suspect = d
		} else if lost == 0 && s.last.route.isZero() {
			lost = d
		}
	}
	if suspect > 500*time.Millisecond || lost > 800*time.Millisecond || lost <= suspect {
		t.Errorf("suspect after %v, lost after %v; want 500ms and 800ms at most", suspect, lost)
	}
	if s.kicks != 1 {
		t.Errorf("relay session renewed %d times, want once", s.kicks)
	}
	if !strings.Contains(s.log(), "connect relay") {
		t.Errorf("the peer was not called:\n%s", s.log())
	}
}

func TestOneWayTraffic(t *testing.T) {
	s := newStage(t, true)
	s.direct(theirs, 40*time.Millisecond)
	s.reply = func(sendProbe) bool { return true }
	s.pass(12 * time.Second)
	s.sent = nil
	s.flow(10*time.Second, false)
	if s.last.relay || s.kicks > 0 {
		t.Error("suspect though every PING was answered")
	}
	if n := len(s.sent); n < 20 || n > 60 {
		t.Errorf("%d PINGs in 10 s of one-way traffic, want one in about 250 ms", n)
	}
}

func TestHeartbeats(t *testing.T) {
	s := newStage(t, true)
	s.event(warmed{on: true})
	s.direct(theirs, 40*time.Millisecond)
	s.reply = func(sendProbe) bool { return true }
	beats := func(d time.Duration) int {
		s.sent = nil
		s.pass(d)
		return len(s.sent)
	}
	if n := beats(10 * time.Second); n < 9 || n > 11 {
		t.Errorf("%d heartbeats in the first 10 s, want 10", n)
	}
	if n := beats(10 * time.Minute); n < 24 || n > 31 {
		t.Errorf("%d heartbeats in 10 idle minutes, want one in 20 to 25 s", n)
	}
	t.Log("the peer's heartbeats count")
	s.sent = nil
	for range 60 {
		s.event(heard{&wire.Message{Type: wire.Ping}, routeTo(theirs)})
		s.pass(19 * time.Second)
	}
	if log := s.log(wire.Ping); log != "" {
		t.Errorf("own heartbeats beside the peer's:\n%s", log)
	}
	t.Log("two lost heartbeats")
	s.reply = nil
	start := s.now
	s.pass(30 * time.Second)
	if s.kicks != 1 || s.p.cur != nil {
		t.Errorf("%v after the last sign: kicks %d, still in use %v", s.now.Sub(start), s.kicks, s.p.cur != nil)
	}
}

func TestIdlePathSleeps(t *testing.T) {
	s := newStage(t, true)
	s.direct(theirs, 40*time.Millisecond)
	s.reply = func(sendProbe) bool { return true }
	s.pass(10 * time.Minute)
	s.sent = nil
	s.pass(time.Hour)
	if len(s.sent) > 0 {
		t.Errorf("sent on a path nobody needs:\n%s", s.log())
	}
	if want := (choice{routeTo(theirs), true}); s.last != want {
		t.Errorf("data would go over %+v, want both ways", s.last)
	}
	s.event(traffic{sent: 1})
	if want := (choice{routeTo(theirs), false}); s.last != want {
		t.Errorf("after data and an answer: %+v, want direct", s.last)
	}
}

// What a search found is kept, also when its port was that of the usual socket by
// luck: the next search may find nothing.
func TestLuckDoesNotSleep(t *testing.T) {
	s := newStage(t, false)
	s.event(selfChanged{
		candidates: []wire.Candidate{{Kind: wire.Reflexive, Addr: ap("198.51.100.1:1")}}, v4: true,
		nat: wire.NAT{Mapping: wire.AddressPortDependent, Allocation: wire.Random},
	})
	easy := wire.NAT{Mapping: wire.EndpointIndependent, Filtering: wire.AddressPortDependent}
	s.event(peerChanged{candidates: theirCans, nat: easy, online: true})
	s.event(heard{&wire.Message{Type: wire.Connect, Flags: wire.FlagSeek, TxID: 1, Candidates: theirCans, NAT: easy}, route{}})
	if len(s.open) == 0 {
		t.Fatalf("no search: %+v", s.p.status(s.now))
	}
	s.direct(theirs, 40*time.Millisecond)
	s.reply = func(sendProbe) bool { return true }
	s.pass(10 * time.Minute)
	s.sent = nil
	s.pass(time.Hour)
	if beats := time.Duration(len(s.sent)); len(s.open) > 0 || !s.p.healthy() || beats < time.Hour/extraBeat/2 {
		t.Errorf("%d sockets are open, %d PINGs in an hour, direct %v", len(s.open), beats, s.p.healthy())
	}
}

func TestPathChoice(t *testing.T) {
	fast, slow := 30*time.Millisecond, 40*time.Millisecond
	tests := []struct {
		name     string
		from, to netip.AddrPort
		rtt      time.Duration // of the second; the first has 40 ms
		pongs    int
		moves    bool
	}{
		{"lan beats direct at once", theirs, theirLAN, slow, 1, true},
		{"direct never beats lan", theirLAN, theirs, fast / 10, 10, false},
		{"faster, not yet often", theirs, ap("203.0.113.8:8"), fast, 2, false},
		{"faster three times", theirs, ap("203.0.113.8:8"), fast, 3, true},
		{"hardly faster", theirs, ap("203.0.113.8:8"), 35 * time.Millisecond, 10, false},
		{"ipv6 alike", theirs, ap("[2001:db8::8]:8"), fast, 3, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t, true)
			s.direct(tt.from, slow)
			s.event(heard{&wire.Message{Type: wire.Ping}, routeTo(tt.to)})
			s.pong(tt.to, tt.rtt)
			for range tt.pongs - 1 {
				s.event(traffic{sent: 1, received: 1})
				for s.p.standbyAt.After(s.now) {
					s.event(traffic{sent: 1, received: 1})
					s.answer(tt.from, slow)
					s.now = s.now.Add(100 * time.Millisecond)
				}
				s.event(traffic{sent: 1, received: 1})
				s.answer(tt.from, slow)
				s.pong(tt.to, tt.rtt)
			}
			if got := s.p.cur.addr == tt.to; got != tt.moves {
				t.Errorf("moved = %v, want %v", got, tt.moves)
			}
		})
	}
}

// answer answers all open PINGs to an address after rtt, without time passing.
func (s *stage) answer(to netip.AddrPort, rtt time.Duration) {
	for id, q := range s.p.pings {
		if q.to.addr == to {
			s.p.pings[id] = pinged{q.to, s.now.Add(-rtt)}
			s.event(heard{&wire.Message{Type: wire.Pong, TxID: id}, q.to})
		}
	}
}

func TestRetries(t *testing.T) {
	s := newStage(t, true)
	s.event(peerChanged{candidates: theirCans, online: true})
	for range 20 * 60 {
		s.event(traffic{sent: 1})
		s.pass(time.Second)
	}
	var starts []string
	for _, x := range s.sent {
		if x.typ == wire.Open {
			starts = append(starts, x.at.Round(time.Second).String())
		}
	}
	expect(t, "attempts while relayed data flows", strings.Join(starts, " "), "0s 5s 20s 1m20s 6m20s 11m20s 16m20s")
	s.sent = nil
	s.pass(time.Hour)
	if len(s.sent) > 30 {
		t.Errorf("%d probes in an hour without data, want next to none", len(s.sent))
	}
}

func TestPrePunchYields(t *testing.T) {
	for _, tt := range []struct {
		lower bool
		bound time.Duration // when our relay session is; 0: it was before we heard of the peer
		turn  time.Duration
		want  time.Duration
	}{
		{lower: true, want: yieldFirst},
		{lower: false, want: yieldFor},
		{lower: true, bound: 50 * time.Millisecond, want: 0},
		{lower: false, bound: 50 * time.Millisecond, want: 50 * time.Millisecond},
		{lower: false, bound: 50 * time.Millisecond, turn: 80 * time.Millisecond, want: 80 * time.Millisecond},
		{lower: false, bound: 2 * time.Second, want: yieldFirst},
	} {
		s := newStage(t, tt.lower)
		if tt.bound > 0 {
			s.event(relayChanged{})
		}
		s.event(peerChanged{candidates: theirCans, online: true})
		s.event(warmed{on: true, turn: tt.turn})
		s.pass(tt.bound)
		if tt.bound > 0 {
			s.event(relayChanged{ViaRelay, 20 * time.Millisecond})
		}
		s.pass(2 * time.Second)
		if len(s.sent) == 0 || s.sent[0].at != tt.want {
			t.Errorf("%+v: began with %v", tt, s.sent)
		}
	}
}

// TestMappedIsHope: two hard NATs, one at random, give up early; not if a gateway
// mapped a port.
func TestMappedIsHope(t *testing.T) {
	hard := wire.NAT{Mapping: wire.AddressPortDependent, Filtering: wire.AddressPortDependent, Allocation: wire.Random}
	for _, mapped := range []bool{false, true} {
		s := newStage(t, true)
		own := s.p.self
		own.nat = hard
		s.event(own)
		cs := slices.Clone(theirCans)
		if mapped {
			cs = append(cs, wire.Candidate{Kind: wire.Mapped, Addr: ap("203.0.113.9:5000")})
		}
		s.event(peerChanged{candidates: cs, nat: hard, online: true})
		if got := s.p.hopeless(); got == mapped {
			t.Errorf("mapped %v: hopeless %v", mapped, got)
		}
	}
}

// TestLateCall: a CONNECT that the peer sent before it answered directly is no
// reason to send data both ways again; a later one is.
func TestLateCall(t *testing.T) {
	s := newStage(t, true)
	s.event(peerChanged{candidates: theirCans, online: true})
	s.event(heard{&wire.Message{Type: wire.Connect, Boot: 1, Seq: 1, Candidates: theirCans}, route{}})
	s.pass(10 * time.Millisecond)
	id := s.sent[len(s.sent)-1].txid
	s.event(heard{&wire.Message{Type: wire.Pong, Boot: 1, Seq: 3, TxID: id}, s.sent[len(s.sent)-1].to})
	if s.last.relay {
		t.Fatalf("data goes over %+v after a PONG", s.last)
	}
	s.event(heard{&wire.Message{Type: wire.Connect, Boot: 1, Seq: 2, Candidates: theirCans}, route{}})
	if s.last.relay {
		t.Error("data goes both ways after a CONNECT from before")
	}
	s.event(heard{&wire.Message{Type: wire.Connect, Boot: 1, Seq: 4, Candidates: theirCans}, route{}})
	if !s.last.relay {
		t.Error("data goes one way after a CONNECT from after")
	}
}

// TestCallsWhoAppears: the CONNECTs to a peer that has no session yet are lost;
// its addresses in the map are a sign that it has one.
func TestCallsWhoAppears(t *testing.T) {
	s := newStage(t, true)
	s.event(peerChanged{online: true})
	s.event(traffic{sent: 1})
	s.pass(70 * time.Millisecond)
	s.event(peerChanged{candidates: theirCans, online: true})
	s.pass(50 * time.Millisecond)
	expect(t, "calls", s.log(wire.Connect), "0 connect relay\n70 connect relay")
}

// TestSpeaksUpOnlyWhenCalled: a probe that comes before the peer's own has left may
// spoil the peer's NAT, so none is sent in full before the peer can have a CONNECT.
func TestSpeaksUpOnlyWhenCalled(t *testing.T) {
	s := newStage(t, true)
	s.event(relayChanged{})
	s.event(peerChanged{candidates: theirCans[1:], online: true})
	s.event(traffic{sent: 1})
	s.pass(150 * time.Millisecond)
	s.event(relayChanged{ViaRelay, 20 * time.Millisecond})
	s.pass(25 * time.Millisecond)
	expect(t, "probes", s.log(wire.Open, wire.Connect, wire.Ping), "0 open(ttl 5) 203.0.113.9\n150 connect relay\n172 ping 203.0.113.9")
}

// TestNeverBusy throws random events at a path. It must rest in between, and
// never send more than a few probes a second for long.
func TestNeverBusy(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		s := newStage(t, seed%2 == 0)
		answers := rnd.Float64()
		s.reply = func(sendProbe) bool { return rnd.Float64() < answers }
		for range 300 {
			s.event(randomEvent(s, rnd))
			s.pass(time.Duration(rnd.ExpFloat64() * float64(2*time.Second)))
		}
		if rate := float64(len(s.sent)) / s.now.Sub(s.start).Seconds(); rate > 60 {
			t.Errorf("seed %d: %.0f probes a second", seed, rate)
		}
		if n := len(s.p.legs); n > maxLegs {
			t.Errorf("seed %d: %d legs remembered, want at most %d", seed, n, maxLegs)
		}
		if n := len(s.p.tried); n > maxAttempts {
			t.Errorf("seed %d: %d attempts remembered, want at most %d", seed, n, maxAttempts)
		}
		s.pass(20 * time.Second)
		s.event(relayChanged{})
		s.pass(10 * time.Minute)
		if n := len(s.open); n > 1 || n != len(s.p.sockets) {
			t.Errorf("seed %d: %d sockets are open, and the path knows of %d; want one at most", seed, n, len(s.p.sockets))
		}
	}
}

// randomNAT is one of any kind.
func randomNAT(rnd *rand.Rand) wire.NAT {
	return wire.NAT{
		Mapping: wire.Behaviour(rnd.IntN(4)), Allocation: wire.Allocation(rnd.IntN(4)),
		Delta: int16(rnd.IntN(9) - 4), Low: uint16(rnd.IntN(2) * 2048), High: uint16(rnd.IntN(2) * 4095),
	}
}

// randomStep is a CONNECT of a search, often the one that is waited for.
func randomStep(s *stage, rnd *rand.Rand) event {
	m := &wire.Message{Type: wire.Connect, Flags: wire.FlagReply | wire.FlagSeek, Candidates: theirCans, NAT: randomNAT(rnd), TxID: rnd.Uint64()}
	if p := s.p.search; p != nil {
		m.TxID, m.NAT = p.id, s.p.peer.nat
	}
	if rnd.IntN(2) == 0 {
		m.Flags = wire.FlagReply | wire.FlagReady
	}
	for range rnd.IntN(4) {
		m.Samples = append(m.Samples, uint16(1+rnd.IntN(65535)))
	}
	return heard{m, route{}}
}

// fromSearch is a probe over a socket that is open for a search.
func fromSearch(s *stage, rnd *rand.Rand) event {
	from := routeTo(theirs)
	if n := len(s.p.sockets); n > 0 {
		from.socket = s.p.sockets[rnd.IntN(n)]
	}
	m := &wire.Message{Type: wire.ProbeType(1 + rnd.IntN(3))}
	for id, p := range s.p.pings {
		if p.to.socket == from.socket {
			m.TxID = id
		}
	}
	return heard{m, from}
}

func randomEvent(s *stage, rnd *rand.Rand) event {
	s.refuse = rnd.IntN(3) == 0
	from := routeTo(netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(rnd.IntN(40))}), 9))
	cans := theirCans[:rnd.IntN(len(theirCans)+1)]
	switch rnd.IntN(18) {
	case 0:
		return peerChanged{candidates: cans, online: rnd.IntN(2) == 0, nat: randomNAT(rnd)}
	case 1:
		self := s.p.self
		self.nat = randomNAT(rnd)
		self.candidates = append(self.candidates[:1:1], wire.Candidate{Kind: wire.Reflexive, Addr: from.addr})
		return self
	case 2:
		return warmed{on: rnd.IntN(2) == 0}
	case 3:
		return relayChanged{Via(rnd.IntN(3)), time.Duration(rnd.IntN(200)) * time.Millisecond}
	case 4:
		return heard{&wire.Message{Type: wire.Connect, Flags: uint8(rnd.IntN(2)), Candidates: cans}, route{}}
	case 5:
		return heard{&wire.Message{Type: wire.Ping, Flags: wire.FlagRelayed}, route{}}
	case 6:
		return heard{&wire.Message{Type: wire.ProbeType(1 + rnd.IntN(5))}, from}
	case 7:
		return sendFailed{}
	case 8:
		return linkChanged{}
	case 9:
		return asked{}
	case 10, 11:
		return randomStep(s, rnd)
	case 12, 13:
		return fromSearch(s, rnd)
	case 14:
		if p := s.p.search; p != nil && len(p.gauges) > 0 {
			return gauged{p.gauges[rnd.IntN(len(p.gauges))], uint16(1 + rnd.IntN(65535))}
		}
	}
	return traffic{sent: uint64(rnd.IntN(2)), received: uint64(rnd.IntN(2)), relayed: uint64(rnd.IntN(2))}
}
