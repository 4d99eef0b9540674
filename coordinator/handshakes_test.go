package coordinator

import (
	"testing"

	"meshd/punch/wire"
)

// TestHandshakesForgetDeletedMembers: what is remembered against replays goes with
// its member.
func TestHandshakesForgetDeletedMembers(t *testing.T) {
	s := newStory(t, "100.96.0.0/16")
	r := &roster{}
	h, err := newHandshakes([32]byte{1}, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	begin := func(key byte, sent byte) bool {
		id, ok := r.plain(PublicKey{key})
		return ok && h.fresh(id, wire.Initiation{Static: PublicKey{key}, Timestamp: [12]byte{sent}})
	}
	s.do(AddPlain{Name: "phone", WireGuard: PublicKey{7}})
	r.update(s.n)
	if !begin(7, 1) || begin(7, 1) || !begin(7, 2) {
		t.Error("want each handshake heard once")
	}
	m, err := s.n.Find("phone")
	if err != nil {
		t.Fatal(err)
	}
	s.do(Delete{m.ID})
	s.do(AddPlain{Name: "tablet", WireGuard: PublicKey{8}})
	r.update(s.n)
	if begin(7, 3) || !begin(8, 1) || begin(8, 1) {
		t.Error("want the tablet heard once, and the phone no more")
	}
	if len(h.last) != 1 {
		t.Errorf("handshakes of %d members are remembered, want the tablet's", len(h.last))
	}
}
