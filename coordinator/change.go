package coordinator

import (
	"context"
	"net/netip"
	"time"
)

// Change is one step from a state of the mesh to the next. The same changes are
// written to the store and then applied in memory.
type Change interface{ change() }

// The kinds of change.
type (
	// PutSettings replaces the settings and counters.
	PutSettings struct{ Settings Settings }
	// PutMember adds a member or replaces all that is known of it.
	PutMember struct{ Member Member }
	// PutPresence replaces the presence of a member. It reaches the store
	// later than memory, and in batches.
	PutPresence struct {
		ID       MemberID
		Presence Presence
	}
	// DeleteMember removes a member.
	DeleteMember struct{ ID MemberID }
	// PutKey adds or replaces a join key.
	PutKey struct{ Key Key }
	// DeleteKey forgets a join key.
	DeleteKey struct{ ID KeyID }
	// PutQuarantine keeps an address from being given to anyone else.
	PutQuarantine struct{ Quarantine Quarantine }
	// DeleteQuarantine frees an address.
	DeleteQuarantine struct{ Addr4 netip.Addr }
)

func (PutSettings) change()      {}
func (PutMember) change()        {}
func (PutPresence) change()      {}
func (DeleteMember) change()     {}
func (PutKey) change()           {}
func (DeleteKey) change()        {}
func (PutQuarantine) change()    {}
func (DeleteQuarantine) change() {}

// Quarantine reserves the address of a deleted member: other machines may
// remember it for a while, and the member itself may come back.
type Quarantine struct {
	Addr4    netip.Addr
	Identity PublicKey // who gets it back
	Until    time.Time
}

// State is everything a store keeps.
type State struct {
	Settings   Settings // zero at the very first start
	Members    []Member
	Keys       []Key
	Quarantine []Quarantine
}

// Store keeps the state of one mesh.
type Store interface {
	// Load returns the state as last saved.
	Load(context.Context) (State, error)
	// Save writes all the changes, or none and returns why.
	Save(context.Context, []Change) error
	Close() error
}

// durable leaves out what may wait for the next batch.
func durable(changes []Change) []Change {
	var kept []Change
	for _, c := range changes {
		if _, ok := c.(PutPresence); !ok {
			kept = append(kept, c)
		}
	}
	return kept
}
