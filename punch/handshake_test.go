package punch

import (
	"testing"
	"time"

	"meshd/punch/nattest"
)

func TestHandshakeIsKeptUntilAnswered(t *testing.T) {
	for _, row := range []struct {
		name  string
		sent  byte
		heard byte // 0: nothing
		kept  bool
		done  bool // there is a session
	}{
		{"nothing answers an initiation", 1, 0, true, false},
		{"a response does", 1, 2, false, true},
		{"data of a new session does", 1, 4, false, true},
		{"a cookie asks for another", 1, 3, false, false},
		{"the other side's own initiation does not", 1, 1, true, false},
		{"nothing answers a response", 2, 0, true, false},
		{"data does", 2, 4, false, true},
		{"data needs no answer", 4, 0, false, false},
	} {
		var h handshake
		h.remember([]byte{row.sent})
		if row.heard != 0 {
			h.heard([]byte{row.heard})
		}
		if got := h.waiting(time.Now(), handshakeLife) != nil; got != row.kept {
			t.Errorf("%s: kept is %v, want %v", row.name, got, row.kept)
		}
		if got := h.session(time.Now()); got != row.done {
			t.Errorf("%s: a session is %v, want %v", row.name, got, row.done)
		}
	}
}

func TestCrossedInitiations(t *testing.T) {
	for _, row := range []struct {
		name   string
		lower  bool
		sent   byte
		ago    time.Duration
		passed bool
	}{
		{"lower key, own initiation under way: ours stands", true, typeInitiation, 0, false},
		{"the same, for as long as it may be answered", true, typeInitiation, handshakeLife - time.Second, false},
		{"lower key, own initiation was lost", true, typeInitiation, handshakeLife, true},
		{"higher key: theirs stands", false, typeInitiation, 0, true},
		{"lower key, nothing under way", true, 0, 0, true},
		{"lower key, our response under way", true, typeResponse, 0, true},
	} {
		f := &flow{handshake: handshake{stands: row.lower}}
		f.way.Store(&way{})
		f.remember([]byte{row.sent})
		if s := f.handshake.sent.Load(); s != nil {
			s.at = s.at.Add(-row.ago)
		}
		if got := !f.crossed([]byte{typeInitiation}); got != row.passed {
			t.Errorf("%s: passed is %v, want %v", row.name, got, row.passed)
		}
	}
}

// The tunnel learns of a peer when the engine does, and may be the quicker.
func TestHandshakeBeforeThePeerIsKnown(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := w.pair(nattest.PortRestricted, nattest.PortRestricted)
		a.SetPeers(nil)
		w.await("bob forgotten", time.Second, func() bool { return len(a.Status().Peers) == 0 })

		a.SetPeers(w.list())
		if err := a.Send(b.key, [][]byte{handshakeOf(typeInitiation)}); err == nil {
			t.Error("a packet for nobody that is known was sent")
		}
		w.await("the handshake", 100*time.Millisecond, func() bool { return len(b.arrivals()) > 0 })

		t.Log("of who stays unknown nothing is kept")
		a.Send(Key{9}, [][]byte{handshakeOf(typeInitiation)})
		w.await("its handshake dropped", time.Second, func() bool { return len(a.mux.early) == 0 })
	})
}
