package relay

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"meshd/punch/wire"
)

// hellos runs a client that nobody answers for a time, and returns when it sent
// (after from) and when it gave up, or -1.
func hellos(c *Client, from time.Time, send [][]byte, until time.Duration) (sent []time.Duration, lost time.Duration) {
	lost = -1
	now := from
	for {
		for range send {
			sent = append(sent, now.Sub(from))
		}
		now = c.NextTimer()
		if now.IsZero() || now.Sub(from) > until {
			return sent, lost
		}
		var event Event
		send, event = c.Step(now)
		if event == (Lost{}) {
			lost = now.Sub(from)
		}
	}
}

const ms = time.Millisecond

func TestSearch(t *testing.T) {
	c := newMember(alice)
	got, _ := hellos(c, start, c.Start(start, relayAddrs[0]), 30*time.Second)
	want := []time.Duration{
		0, 100 * ms, 300 * ms, 1300 * ms, // quick at first,
		3300 * ms, 5300 * ms, 7300 * ms, 9300 * ms, 11300 * ms, 13300 * ms, 15300 * ms, 17300 * ms, // patient,
		22300 * ms, 27300 * ms, // and so for ever
	}
	if !slices.Equal(got, want) {
		t.Errorf("hellos at %v, want %v", got, want)
	}
}

func TestUnansweredKeepalive(t *testing.T) {
	c := bindAt(t, start, newTestHandler(nil), alice, home)
	got, lost := hellos(c, start, nil, 27*time.Second)
	want := []time.Duration{22000 * ms, 22250 * ms, 22500 * ms, 22750 * ms, 23000 * ms, 24000 * ms, 26000 * ms}
	if !slices.Equal(got, want) || lost != 23*time.Second {
		t.Errorf("hellos at %v, lost at %v; want %v, lost at 23s", got, lost, want)
	}
	if c.Bound() {
		t.Error("still bound")
	}
}

func TestKick(t *testing.T) {
	t.Log("bound: asked three times in 150 ms, lost before a second has passed")
	c := bindAt(t, start, newTestHandler(nil), alice, home)
	got, lost := hellos(c, start, c.Kick(start), time.Second)
	want := []time.Duration{0, 50 * ms, 150 * ms, 400 * ms, 650 * ms}
	if !slices.Equal(got, want) || lost != 650*ms {
		t.Errorf("hellos at %v, lost at %v; want %v, lost at 650ms", got, lost, want)
	}

	t.Log("not bound: the same, and the search starts over")
	got, lost = hellos(c, start, c.Kick(start), 4*time.Second)
	want = []time.Duration{0, 50 * ms, 150 * ms, 1150 * ms, 3150 * ms}
	if !slices.Equal(got, want) || lost >= 0 {
		t.Errorf("hellos at %v, lost at %v; want %v, never lost", got, lost, want)
	}

	t.Log("never started: nothing")
	if send := newMember(alice).Kick(start); send != nil {
		t.Errorf("sent %x", send)
	}
}

// What follows the ANSWER is forwarded: nobody has to wait for the WELCOME.
func TestDataBehindAnswer(t *testing.T) {
	h := newTestHandler(nil)
	bindAt(t, start, h, bob, hotel)
	c := newMember(alice)
	challenge := h.handle(start, atHome, c.Start(start, relayAddrs[0])[0]).reply
	later := start.Add(30 * ms)
	send, event := c.Receive(later, challenge, c.Addr())
	if want := (Bound{Observed: home, RTT: 30 * ms, HubTime: start, Epoch: 7}); !c.Bound() || !sameBound(event, want) {
		t.Fatalf("event %v, want %v", event, want)
	}
	h.handle(later, atHome, send[0])
	if v := h.handle(later, atHome, data(c.Epoch(), alice^bob, "x")); v.action != forwardIt {
		t.Errorf("data behind the ANSWER got %+v, want it forwarded", v)
	}

	t.Log("without a WELCOME it asks four times in a second, and knows that it was wrong")
	got, lost := hellos(c, start, nil, 2*time.Second)
	want := []time.Duration{280 * ms, 530 * ms, 780 * ms, 1030 * ms}
	if !slices.Equal(got, want) || lost != 1030*ms || c.Bound() {
		t.Errorf("hellos at %v, lost at %v, bound %v; want %v, lost at 1.03s, not bound", got, lost, c.Bound(), want)
	}
}

// A session must hold however long the way is, as long as answers come at all.
func TestSlowPath(t *testing.T) {
	const oneWay = 700 * ms
	h, c := newTestHandler(nil), newMember(alice)
	type packet struct {
		at   time.Time
		b    []byte
		toUs bool
	}
	var air []packet
	send := func(at time.Time, all [][]byte) {
		for _, b := range all {
			air = append(air, packet{at.Add(oneWay), b, false})
		}
	}
	send(start, c.Start(start, relayAddrs[0]))
	bounds := 0
	for now := start; now.Before(start.Add(2 * time.Minute)); now = now.Add(10 * ms) {
		for len(air) > 0 && !air[0].at.After(now) {
			p := air[0]
			air = air[1:]
			if !p.toUs {
				if v := h.handle(now, leg{0, home}, p.b); v.action == replyToIt {
					air = append(air, packet{now.Add(oneWay), v.reply, true})
				}
				continue
			}
			more, event := c.Receive(now, p.b, c.Addr())
			send(now, more)
			if b, ok := event.(Bound); ok {
				bounds++
				if b.RTT != 2*oneWay {
					t.Fatalf("RTT = %v, want %v", b.RTT, 2*oneWay)
				}
			}
		}
		more, event := c.Step(now)
		send(now, more)
		if event != nil {
			t.Fatalf("lost after %v", now.Sub(start))
		}
	}
	if bounds < 5 {
		t.Errorf("bound %d times in two minutes, want 5 at least", bounds)
	}
}

func TestReset(t *testing.T) {
	reset := wire.AppendHeader(nil, wire.Header{Type: wire.Reset})
	c := bindAt(t, start, newTestHandler(nil), alice, home)
	now := start.Add(time.Second)

	t.Log("from anyone but the relay it is nothing")
	if send, _ := c.Receive(now, reset, hotel); send != nil {
		t.Errorf("sent %x", send)
	}

	t.Log("from the relay: a HELLO at once, one in 100 ms, and still bound")
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {99 * ms, 0}, {100 * ms, 1}, {150 * ms, 0}} {
		send, _ := c.Receive(now.Add(step.after), reset, c.Addr())
		if len(send) != step.want || !c.Bound() {
			t.Errorf("after %v: %d sent, bound %v; want %d, true", step.after, len(send), c.Bound(), step.want)
		}
	}

	t.Log("a flood of forged ones doesn't keep a dead relay alive")
	for at := now; c.Bound(); at = at.Add(10 * ms) {
		if at.Sub(now) > 2*time.Second {
			t.Fatal("bound for ever")
		}
		c.Receive(at, reset, c.Addr())
		c.Step(at)
	}
}

// The relay was restarted: RESET, HELLO, and everything is as before, with
// another epoch.
func TestRelayRestart(t *testing.T) {
	c := bindAt(t, start, newTestHandler(nil), alice, home)
	h := newHandler(ServerConfig{Directory: directory{}}, 8, relayAddrs)
	now := start.Add(time.Second)
	v := h.handle(now, atHome, data(c.Epoch(), alice^bob, "x"))
	send, _ := c.Receive(now, v.reply, c.Addr())
	if events := talk(t, now, h, c, home, send); len(events) != 2 || c.Epoch() != 8 {
		t.Errorf("events = %v, epoch %d; want bound twice with epoch 8", events, c.Epoch())
	}
}

func TestReceiveIgnores(t *testing.T) {
	h := newTestHandler(nil)
	c := newMember(alice)
	hello := c.Start(start, relayAddrs[0])[0]
	challenge := h.handle(start, atHome, hello).reply
	forged := slices.Clone(challenge)
	forged[10] ^= 1
	other := newTestHandler(nil).handle(start, atHome, newMember(bob).Start(start, relayAddrs[0])[0]).reply
	stale := h.handle(start, atHome, newMember(alice).Start(start, relayAddrs[0])[0]).reply
	tests := []struct {
		name string
		b    []byte
		from netip.AddrPort
	}{
		{"from elsewhere", challenge, relayAddrs[1]},
		{"forged", forged, relayAddrs[0]},
		{"for somebody else", other, relayAddrs[0]},
		{"never asked for", stale, relayAddrs[0]},
		{"our own", hello, relayAddrs[0]},
		{"data", data(7, alice^bob, "x"), relayAddrs[0]},
		{"nothing", nil, relayAddrs[0]},
	}
	for _, test := range tests {
		if send, event := c.Receive(start, test.b, test.from); send != nil || event != nil {
			t.Errorf("%s: sent %x, event %v; want nothing", test.name, send, event)
		}
	}
	if send, _ := c.Receive(start, challenge, relayAddrs[0]); len(send) != 1 {
		t.Error("the true challenge is not answered")
	}
	if send, _ := c.Receive(start, challenge, relayAddrs[0]); len(send) != 0 {
		t.Error("the challenge is answered twice")
	}
}

// A WELCOME that was overtaken by a newer one is stale, and a second copy is too.
func TestStaleWelcome(t *testing.T) {
	h := newTestHandler(nil)
	c := bindAt(t, start, h, alice, home)
	var welcomes [][]byte
	for _, b := range slices.Concat(c.Kick(start), c.Kick(start)) {
		welcomes = append(welcomes, h.handle(start, atHome, b).reply)
	}
	for i, want := range []bool{true, false} {
		_, event := c.Receive(start, welcomes[1-i], c.Addr())
		if got := event != nil; got != want {
			t.Errorf("welcome %d: news %v, want %v", 1-i, got, want)
		}
	}
	if _, event := c.Receive(start, welcomes[1], c.Addr()); event != nil {
		t.Error("a second copy is news")
	}
}

func FuzzReceive(f *testing.F) {
	c := newMember(alice)
	f.Add(newTestHandler(nil).handle(start, atHome, c.Start(start, relayAddrs[0])[0]).reply)
	f.Add(wire.AppendHeader(nil, wire.Header{Type: wire.Reset}))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := newMember(alice)
		c.Start(start, relayAddrs[0])
		send, event := c.Receive(start.Add(time.Second), b, relayAddrs[0])
		if event != nil || len(send) > 1 {
			t.Fatalf("sent %x, event %v", send, event)
		}
	})
}
