package coordinator

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	meshdv1 "meshd/coordinator/api/meshd/v1"
)

// crowd is a mesh of active members m0, m1 …, each with a stream that nobody reads.
func crowd(t testing.TB, size int) (*Network, *fanout, []*subscriber) {
	t.Helper()
	settings, err := newSettings(Wishes{})
	if err != nil {
		t.Fatal(err)
	}
	n := NewNetwork(State{Settings: settings})
	f := newFanout(n, func() time.Time { return noon }, nil)
	var subs []*subscriber
	for i := range size {
		addr, _ := n.address(PublicKey{})
		m := Member{ID: MemberID(i + 1), Name: fmt.Sprint("m", i), Identity: identity(fmt.Sprint("m", i)), Standing: Approved, Addr4: addr}
		n.put(m)
		f.announce(Member{}, m, n)
		subs = append(subs, newSubscriber(m.ID, func() {}))
		f.add(subs[i], n)
		drain(subs)
	}
	return n, f, subs
}

func drain(subs []*subscriber) {
	for _, s := range subs {
		for len(s.queue) > 0 {
			<-s.queue
		}
	}
}

// publish changes what others see of a member.
func publish(n *Network, f *fanout, id MemberID, generation uint32) {
	before := n.members[id]
	after := before
	after.Generation = generation
	n.Apply([]Change{PutMember{after}})
	f.announce(before, after, n)
}

func TestSlowSubscriberIsCutOff(t *testing.T) {
	n, f, subs := crowd(t, 3)
	slow, quick := subs[1], subs[2]
	for i := range queueLength {
		publish(n, f, 1, uint32(i+1))
		<-quick.queue
	}
	if f.subscribers[slow.id] != slow {
		t.Fatalf("cut off after %d messages, want after %d", len(slow.queue), queueLength+1)
	}
	publish(n, f, 1, queueLength+1)
	var refusal *Error
	select {
	case <-slow.done:
		if !errors.As(slow.err, &refusal) || refusal.Code != connect.CodeAborted {
			t.Errorf("got %v, want aborted", slow.err)
		}
	default:
		t.Error("not cut off")
	}
	if !f.remove(slow) {
		t.Error("a member without a stream still counts as connected")
	}
	if len(quick.queue) != 1 || f.subscribers[quick.id] != quick {
		t.Errorf("the quick one has %d messages, want 1", len(quick.queue))
	}
}

func TestDeltaIsEncodedOnce(t *testing.T) {
	n, f, subs := crowd(t, 3)
	publish(n, f, 1, 7)
	a, b := <-subs[1].queue, <-subs[2].queue
	if a != b || a.form(false) != b.form(false) {
		t.Error("two subscribers got two encodings")
	}
	if len(subs[0].queue) != 0 {
		t.Error("the member itself got a delta about itself")
	}
	raw, err := proto.Marshal(a.form(false))
	if err != nil {
		t.Fatal(err)
	}
	var got meshdv1.MapResponse
	if err := proto.Unmarshal(raw, &got); err != nil || !proto.Equal(&got, a.form(true)) {
		t.Errorf("got %v, %v, want %v", &got, err, a.form(true))
	}
}

func TestNobodyIsToldNothing(t *testing.T) {
	n, f, subs := crowd(t, 3)
	m := n.members[1]
	again := m
	again.Observed, again.Relay = netip.MustParseAddrPort("203.0.113.9:1"), "udp" // not in anyone's map
	f.announce(m, again, n)
	for _, s := range subs {
		if len(s.queue) > 0 {
			t.Errorf("member %d was told %v", s.id, (<-s.queue).message)
		}
	}
}

func TestHeartbeatInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSubscriber(1, func() {})
		heartbeat := time.NewTicker(heartbeatEvery)
		defer heartbeat.Stop()
		start := time.Now()
		for i := range 3 {
			f, err := s.next(t.Context(), heartbeat.C)
			if err != nil || f.message.GetHubTimeUnixMs() != time.Now().UnixMilli() || len(f.message.GetMembers()) > 0 {
				t.Errorf("got %v, %v, want the time alone", f, err)
			}
			if got, want := time.Since(start), time.Duration(i+1)*20*time.Second; got != want {
				t.Errorf("heartbeat %d came after %s, want %s", i+1, got, want)
			}
		}
	})
}

// BenchmarkAnnounce is one changed member in a mesh of a thousand.
func BenchmarkAnnounce(b *testing.B) {
	n, f, subs := crowd(b, 1000)
	i := uint32(0)
	for b.Loop() {
		i++
		publish(n, f, 1, i)
		drain(subs)
	}
}
