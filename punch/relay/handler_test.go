package relay

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"meshd/punch/stun"
	"meshd/punch/wire"
)

func TestHandshake(t *testing.T) {
	var seen sightings
	h := newTestHandler(seen.observe)
	c := newMember(alice)

	t.Log("a HELLO from a new source is challenged, and the answer binds: both are news")
	events := talk(t, start, h, c, home, c.Start(start, relayAddrs[0]))
	want := Bound{Observed: home, HubTime: start, Epoch: 7}
	if len(events) != 2 || !sameBound(events[0], want) || !sameBound(events[1], want) {
		t.Fatalf("events = %v, want %v twice", events, want)
	}
	if got := seen.take(); !slices.Equal(got, []sighting{{alice, home, UDP}}) {
		t.Errorf("observed = %v", got)
	}

	t.Log("the keepalive is welcome at once and no news")
	later := start.Add(keepalive)
	send, _ := c.Step(later)
	if v := h.handle(later, leg{0, home}, send[0]); v.action != replyToIt || v.reply[1] != byte(wire.Welcome) {
		t.Errorf("keepalive got %+v, want a WELCOME", v)
	}
	if got := seen.take(); got != nil {
		t.Errorf("observed = %v, want nothing", got)
	}

	t.Log("from another source it has to be proven anew, then the session moves")
	events = talk(t, later, h, c, hotel, c.Kick(later))
	if len(events) != 2 || events[0].(Bound).Observed != hotel {
		t.Fatalf("events = %v, want bound at %v", events, hotel)
	}
	if got := seen.take(); !slices.Equal(got, []sighting{{alice, hotel, UDP}}) {
		t.Errorf("observed = %v", got)
	}
	if h.table.bound(alice, leg{0, home}) {
		t.Error("still bound at the old source")
	}
}

func sameBound(e Event, want Bound) bool {
	b, ok := e.(Bound)
	return ok && b.Observed == want.Observed && b.HubTime.Equal(want.HubTime) && b.Epoch == want.Epoch && b.RTT == want.RTT
}

// challenge returns the ANSWER by which a member at an address would bind.
func challenge(t *testing.T, now time.Time, h *handler, id wire.RelayID, at leg) []byte {
	t.Helper()
	c := newMember(id)
	v := h.handle(now, at, c.Start(now, relayAddrs[at.socket])[0])
	send, _ := c.Receive(now, v.reply, c.Addr())
	if len(send) != 1 {
		t.Fatalf("no answer to %+v", v)
	}
	return send[0]
}

func TestAnswerIsGoodOnce(t *testing.T) {
	tests := []struct {
		name  string
		from  leg           // where the ANSWER comes from
		after time.Duration // and when
		rebound,
		want bool
	}{
		{"at once", atHome, 0, false, true},
		{"after half a minute", atHome, 29 * time.Second, false, true},
		{"after more than a minute", atHome, 61 * time.Second, false, false},
		{"from another address", leg{0, hotel}, 0, false, false},
		{"from another port", leg{0, netip.AddrPortFrom(home.Addr(), 1)}, 0, false, false},
		{"at another socket", leg{1, home}, 0, false, false},
		{"replayed after another bind", atHome, 0, true, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newTestHandler(nil)
			answer := challenge(t, start, h, alice, atHome)
			if test.rebound {
				bindAt(t, start, h, alice, office)
			}
			v := h.handle(start.Add(test.after), test.from, answer)
			if got := v.action == replyToIt && h.table.bound(alice, test.from); got != test.want {
				t.Errorf("bound = %v (%+v), want %v", got, v, test.want)
			}
			if test.rebound && !h.table.bound(alice, leg{0, office}) {
				t.Error("the session was moved away")
			}
		})
	}
}

// An answer that was good once doesn't move the session back after it moved on.
func TestReplayDoesNotMoveBack(t *testing.T) {
	h := newTestHandler(nil)
	answer := challenge(t, start, h, alice, atHome)
	h.handle(start, atHome, answer)
	bindAt(t, start, h, alice, hotel)
	if v := h.handle(start, atHome, answer); v.action != dropIt || v.drop != DropCookie {
		t.Errorf("replay got %+v, want dropped", v)
	}
	if !h.table.bound(alice, leg{0, hotel}) {
		t.Error("the session has moved back")
	}
}

// Whoever sends somebody's HELLO from elsewhere gets a challenge to that
// elsewhere, and nothing changes.
func TestReplayedHelloMovesNothing(t *testing.T) {
	h := newTestHandler(nil)
	hello := newMember(alice).Start(start, relayAddrs[0])[0]
	bindAt(t, start, h, alice, home)
	v := h.handle(start, leg{0, hotel}, hello)
	if v.action != replyToIt || v.reply[1] != byte(wire.Challenge) {
		t.Errorf("got %+v, want a CHALLENGE", v)
	}
	if v := h.handle(start, leg{0, hotel}, data(7, alice^bob, "x")); v.action != replyToIt || v.reply[1] != byte(wire.Reset) {
		t.Errorf("data from there got %+v, want a RESET", v)
	}
	if !h.table.bound(alice, atHome) {
		t.Error("the session has moved")
	}
}

func TestStrangersGetNothing(t *testing.T) {
	hello := func(id wire.RelayID, key wire.RelayKey) []byte {
		return NewClient(ClientConfig{ID: id, Key: key}).Start(start, relayAddrs[0])[0]
	}
	forged := hello(alice, keyOf(alice))
	forged[20] ^= 1
	tests := []struct {
		name string
		b    []byte
		want Drop
	}{
		{"unknown id", hello(nobody, keyOf(nobody)), DropStranger},
		{"wrong key", hello(alice, keyOf(bob)), DropStranger},
		{"one bit wrong", forged, DropStranger},
		{"cut short", hello(alice, keyOf(alice))[:wire.SessionSize-1], DropMalformed},
		{"too long", append(hello(alice, keyOf(alice)), 0), DropMalformed},
		{"a message of the relay", wire.AppendHeader(nil, wire.Header{Type: wire.Reset}), DropMalformed},
		{"a message of the future", wire.AppendHeader(nil, wire.Header{Type: 77}), DropMalformed},
		{"a WireGuard message", append([]byte{1}, make([]byte, 147)...), DropMalformed},
		{"nothing", nil, DropMalformed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newTestHandler(nil)
			if v := h.handle(start, atHome, test.b); v.action != dropIt || v.drop != test.want {
				t.Errorf("got %+v, want dropped: %v", v, test.want)
			}
			if len(h.table.byID) > 0 {
				t.Error("it left state behind")
			}
		})
	}
}

func TestForward(t *testing.T) {
	tests := []struct {
		name string
		from netip.AddrPort
		b    []byte
		want verdict
	}{
		{"to a friend", home, data(7, alice^bob, "x"), verdict{action: forwardIt, to: route{leg: leg{0, hotel}}}},
		{"to a friend, not in a bundle", home, alone(data(7, alice^bob, "x")), verdict{action: forwardIt, to: route{leg: leg{0, hotel}, singly: true}}},
		{"bare header", home, data(7, alice^bob, "")[:wire.HeaderSize], verdict{action: forwardIt, to: route{leg: leg{0, hotel}}}},
		{"to oneself", home, data(7, 0, "x"), verdict{action: dropIt, drop: DropMalformed}},
		{"to who is away", home, data(7, alice^carol, "x"), verdict{action: dropIt, drop: DropAbsent}},
		{"to a forbidden one", home, data(7, alice^mallory, "x"), verdict{action: dropIt, drop: DropForbidden}},
		{"by a forbidden one", office, data(7, mallory^bob, "x"), verdict{action: dropIt, drop: DropForbidden}},
		{"by a stranger", relayAddrs[0], data(7, alice^bob, "x"), verdict{action: replyToIt}},
		{"before the restart", home, data(6, alice^bob, "x"), verdict{action: replyToIt}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newTestHandler(nil)
			bindAt(t, start, h, alice, home)
			bindAt(t, start, h, bob, hotel)
			bindAt(t, start, h, mallory, office)
			got := h.handle(start, leg{0, test.from}, test.b)
			if got.action != test.want.action || got.to != test.want.to || got.action == dropIt && got.drop != test.want.drop {
				t.Fatalf("got %+v, want %+v", got, test.want)
			}
			if got.action == replyToIt && (len(got.reply) != wire.HeaderSize || got.reply[1] != byte(wire.Reset)) {
				t.Errorf("reply = %x, want a RESET of %d bytes", got.reply, wire.HeaderSize)
			}
		})
	}
}

// alone has the relay pass b on by itself.
func alone(b []byte) []byte {
	h, _ := wire.ParseHeader(b)
	h.Singly = true
	wire.PutHeader(b, h)
	return b
}

func TestResetsAreLimited(t *testing.T) {
	h := newTestHandler(nil)
	replies := 0
	for range 10 * resetBurst {
		if h.handle(start, atHome, data(7, alice^bob, "x")).action == replyToIt {
			replies++
		}
	}
	if replies != resetBurst {
		t.Errorf("%d resets at once, want %d", replies, resetBurst)
	}
}

func TestHalfOpenSessionsCostNothing(t *testing.T) {
	h := newTestHandler(nil)
	c := newMember(alice)
	for i := range 10_000 {
		from := netip.AddrPortFrom(home.Addr(), uint16(1000+i))
		if v := h.handle(start, leg{0, from}, c.Start(start, relayAddrs[0])[0]); v.action != replyToIt {
			t.Fatalf("hello %d got %+v, want a challenge", i, v)
		}
	}
	if udp, pipes := h.count(); udp+pipes+len(h.table.byID) > 0 {
		t.Errorf("%d sessions of %d ids, want none", udp+pipes, len(h.table.byID))
	}
	bindAt(t, start, h, bob, hotel)
}

func TestWebSocketSession(t *testing.T) {
	var seen sightings
	h := newTestHandler(seen.observe)
	bindAt(t, start, h, bob, hotel)
	h.attach(alice, &fakePipe{}, home)
	if got := seen.take(); !slices.Equal(got, []sighting{{bob, hotel, UDP}, {alice, home, WebSocket}}) {
		t.Errorf("observed = %v", got)
	}

	t.Log("data needs no epoch, as TLS has bound the session")
	if v := h.handlePipe(start, alice, home, data(0, alice^bob, "x")); v.action != forwardIt || v.to.leg.addr != hotel {
		t.Errorf("data got %+v, want forwarded to bob", v)
	}
	if v := h.handlePipe(start, alice, home, data(0, alice^mallory, "x")); v.action != dropIt || v.drop != DropForbidden {
		t.Errorf("data got %+v, want forbidden", v)
	}

	t.Log("HELLO is welcome at once, for the RTT and the clock")
	c := newMember(alice)
	v := h.handlePipe(start, alice, home, c.Start(start, netip.AddrPort{})[0])
	if _, event := c.Receive(start, v.reply, netip.AddrPort{}); !sameBound(event, Bound{Observed: home, HubTime: start, Epoch: 7}) {
		t.Errorf("event = %v, want bound", event)
	}

	t.Log("but not for somebody else")
	if v := h.handlePipe(start, alice, home, newMember(carol).Start(start, netip.AddrPort{})[0]); v.action != dropIt {
		t.Errorf("carol's HELLO by alice got %+v, want dropped", v)
	}
}

func TestSTUNFromTheRightSocket(t *testing.T) {
	two := relayAddrs[:2]
	across := append(slices.Clone(two), netip.MustParseAddrPort("[2001:db8::1]:3478"), netip.MustParseAddrPort("[2001:db8::1]:3479"))
	tests := []struct {
		name    string
		sockets []netip.AddrPort
		at      int // socket asked
		change  stun.Change
		want    int // socket that answers
		other   netip.AddrPort
	}{
		{"as is", relayAddrs, 0, stun.Change{}, 0, relayAddrs[3]},
		{"other port", relayAddrs, 0, stun.Change{Port: true}, 1, relayAddrs[3]},
		{"other address", relayAddrs, 1, stun.Change{IP: true}, 3, relayAddrs[2]},
		{"both", relayAddrs, 1, stun.Change{IP: true, Port: true}, 2, relayAddrs[2]},
		{"two ports", two, 1, stun.Change{Port: true}, 0, netip.AddrPort{}},
		{"two families are not two addresses", across, 2, stun.Change{Port: true}, 3, netip.AddrPort{}},
		{"three of four", relayAddrs[:3], 0, stun.Change{Port: true}, 1, netip.AddrPort{}},
		{"one", relayAddrs[:1], 0, stun.Change{}, 0, netip.AddrPort{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHandler(ServerConfig{Directory: directory{}}, 7, test.sockets)
			v := h.handle(start, leg{test.at, home}, stun.Request(stun.TxID{1}, test.change))
			if v.action != replyToIt || v.socket != test.want {
				t.Fatalf("got %+v, want a reply from socket %d", v, test.want)
			}
			r, err := stun.ParseResponse(v.reply)
			if err != nil || r.Mapped != home || r.Origin != test.sockets[test.want] || r.Other != test.other {
				t.Errorf("response = %+v, %v; want mapped %v, origin %v, other %v", r, err, home, test.sockets[test.want], test.other)
			}
		})
	}
}

func TestSTUNIsLimitedBySource(t *testing.T) {
	h := newTestHandler(nil)
	ask := func(from netip.AddrPort) bool {
		return h.handle(start, leg{0, from}, stun.Request(stun.TxID{1}, stun.Change{})).action == replyToIt
	}
	replies := 0
	for range 1000 {
		if ask(home) {
			replies++
		}
	}
	if replies != stunBurst {
		t.Errorf("%d replies at once to one source, want %d", replies, stunBurst)
	}
	others := 0
	for i := range 8 { // one of them may share the bucket
		if ask(netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 1)) {
			others++
		}
	}
	if others < 7 {
		t.Errorf("%d of 8 others answered, want all", others)
	}
}

// FuzzHandle: whatever comes, nothing crashes and no reply but STUN's is larger
// than its question.
func FuzzHandle(f *testing.F) {
	c := newMember(alice)
	f.Add(c.Start(start, relayAddrs[0])[0])
	f.Add(data(7, alice^bob, "payload"))
	f.Add(stun.Request(stun.TxID{1}, stun.Change{IP: true}))
	f.Add([]byte{0xd2})
	r := rand.New(rand.NewPCG(1, 2))
	for range 8 {
		b := make([]byte, r.IntN(200))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h := newTestHandler(nil)
		question := bytes.Clone(b)
		v := h.handle(start, atHome, b)
		if !bytes.Equal(b, question) {
			t.Fatal("the datagram was changed")
		}
		limit := len(b)
		if mayBeSTUN(b) {
			limit = max(stun.MaxReply, limit)
		}
		if v.action == replyToIt && len(v.reply) > limit {
			t.Fatalf("reply of %d bytes to %d", len(v.reply), len(b))
		}
		if v.action == forwardIt || len(h.table.byID) > 0 {
			t.Fatalf("got %+v from nobody", v)
		}
		h.handlePipe(start, alice, home, b)
	})
}
