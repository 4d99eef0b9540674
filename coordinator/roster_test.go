package coordinator

import (
	"testing"

	"meshd/punch/wire"
)

func TestRosterKnowsActiveMembersOnly(t *testing.T) {
	s := newStory(t, "100.96.0.0/16")
	s.key("all", CreateKey{Reusable: true})
	nas, laptop, guest := s.joined("nas", "all"), s.joined("laptop", "all"), s.joined("guest", "all")
	s.do(Approve{nas.ID})
	s.do(Approve{laptop.ID})
	r := &roster{}
	r.update(s.n)

	first, ok := r.Key(relayID(nas.ID))
	if !ok || first == (wire.RelayKey{}) {
		t.Errorf("got %x, %v, want a key for an active member", [32]byte(first), ok)
	}
	if other, _ := r.Key(relayID(laptop.ID)); other == first {
		t.Error("two members have one key")
	}
	for _, c := range []struct {
		from, to MemberID
		want     bool
	}{
		{nas.ID, laptop.ID, true},
		{laptop.ID, nas.ID, true},
		{nas.ID, nas.ID, false},
		{nas.ID, guest.ID, false}, // pending
		{guest.ID, nas.ID, false},
		{nas.ID, 99, false},
	} {
		if got := r.May(relayID(c.from), relayID(c.to)); got != c.want {
			t.Errorf("%d to %d: got %v, want %v", c.from, c.to, got, c.want)
		}
	}
	if _, ok := r.Key(relayID(guest.ID)); ok {
		t.Error("a pending member has a relay key")
	}
	if m, ok := r.who(guest.Identity); !ok || m.ID != guest.ID {
		t.Errorf("got %v, %v, want the guest known by its identity", m, ok)
	}

	t.Log("a key stays the same while its member does, and goes with it")
	s.do(Expire{laptop.ID})
	r.update(s.n)
	if again, _ := r.Key(relayID(nas.ID)); again != first {
		t.Error("the key changed")
	}
	if _, ok := r.Key(relayID(laptop.ID)); ok || r.May(relayID(nas.ID), relayID(laptop.ID)) {
		t.Error("an expired member may relay")
	}
}
