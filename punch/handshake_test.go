package punch

import (
	"testing"
	"time"
)

func TestHandshakeIsKeptUntilAnswered(t *testing.T) {
	for _, row := range []struct {
		name  string
		sent  byte
		heard byte // 0: nothing
		kept  bool
	}{
		{"nothing answers an initiation", 1, 0, true},
		{"a response does", 1, 2, false},
		{"data of a new session does", 1, 4, false},
		{"the other side's own initiation does not", 1, 1, true},
		{"nothing answers a response", 2, 0, true},
		{"data does", 2, 4, false},
		{"data needs no answer", 4, 0, false},
	} {
		var h handshake
		h.remember([]byte{row.sent})
		if row.heard != 0 {
			h.heard([]byte{row.heard})
		}
		if got := h.waiting(time.Now(), handshakeLife) != nil; got != row.kept {
			t.Errorf("%s: kept is %v, want %v", row.name, got, row.kept)
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
