package coordinator

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestNetworkHoldsItsPromises throws random histories at a small network, with
// a store whose disk is full now and then and a hub that restarts from it.
func TestNetworkHoldsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		settings, err := newSettings(Wishes{Prefix4: netip.MustParsePrefix("10.0.0.0/28")})
		if err != nil {
			t.Fatal(err)
		}
		store := &MemoryStore{}
		store.Save(context.Background(), []Change{PutSettings{settings}})
		w := &world{
			now: noon, store: store, n: NewNetwork(State{Settings: settings}),
			single: map[SecretHash]bool{}, admitted: map[SecretHash]int{}, owners: map[MemberID]PublicKey{},
			resting: map[netip.Addr]Quarantine{},
		}
		t.Repeat(map[string]func(*rapid.T){
			"createKey": w.createKey,
			"join":      w.join,
			"act":       w.act,
			"wait":      w.wait,
			"restart":   w.restart,
			"":          w.check,
		})
	})
}

type world struct {
	now      time.Time
	store    *MemoryStore
	n        *Network
	secrets  int
	single   map[SecretHash]bool
	admitted map[SecretHash]int
	owners   map[MemberID]PublicKey // of every number ever given
	resting  map[netip.Addr]Quarantine
}

// handle is the loop's handle: decided, stored, applied.
func (w *world) handle(t *rapid.T, e Event) bool {
	changes, err := w.n.Decide(w.now, e)
	if err != nil {
		return false
	}
	left := map[MemberID]Member{}
	for _, c := range changes {
		if d, ok := c.(DeleteMember); ok {
			left[d.ID] = w.n.members[d.ID]
		}
	}
	if rapid.IntRange(0, 9).Draw(t, "full disk") == 0 {
		return false
	}
	w.store.Save(context.Background(), changes)
	w.n.Apply(changes)
	for _, m := range left {
		w.resting[m.Addr4] = Quarantine{Identity: m.Identity, Until: w.now.Add(QuarantineTime)}
	}
	return true
}

func (w *world) createKey(t *rapid.T) {
	e := CreateKey{
		Hash:      HashSecret([]byte(fmt.Sprint(w.secrets))),
		Reusable:  rapid.Bool().Draw(t, "reusable"),
		Approved:  rapid.Bool().Draw(t, "approved"),
		Ephemeral: rapid.Bool().Draw(t, "ephemeral"),
	}
	if w.handle(t, e) {
		w.single[e.Hash] = !e.Reusable
		w.secrets++
	}
}

func (w *world) join(t *rapid.T) {
	device := rapid.IntRange(0, 19).Draw(t, "device")
	secret := rapid.IntRange(0, max(w.secrets, 1)).Draw(t, "secret")
	e := join(fmt.Sprint("d", device), fmt.Sprint(secret))
	e.Hostname = "same"
	_, was := w.n.ByIdentity(e.Identity)
	if !w.handle(t, e) || was {
		return
	}
	m, _ := w.n.ByIdentity(e.Identity)
	if owner, given := w.owners[m.ID]; given {
		t.Fatalf("number %d was %x's before", m.ID, owner[:4])
	}
	if q, ok := w.resting[m.Addr4]; ok && q.Identity != m.Identity && w.now.Before(q.Until) {
		t.Fatalf("%s was given away %s too early", m.Addr4, q.Until.Sub(w.now))
	}
	w.owners[m.ID] = m.Identity
	w.admitted[e.Secret]++
}

func (w *world) act(t *rapid.T) {
	if len(w.n.Members()) == 0 {
		return
	}
	id := rapid.SampledFrom(w.n.Members()).Draw(t, "member").ID
	w.handle(t, rapid.SampledFrom([]Event{
		Approve{id}, Expire{id}, Delete{id}, Connect{ID: id}, Disconnect{id}, Rename{id, "other"},
		RotateKey{id, identity(fmt.Sprint("k", id))}, ExpireKey{KeyID(id)},
	}).Draw(t, "event"))
}

func (w *world) wait(t *rapid.T) {
	w.now = w.now.Add(time.Duration(rapid.IntRange(1, 40*24*60).Draw(t, "minutes")) * time.Minute)
	w.handle(t, Tick{})
}

// restart loses what was in memory alone.
func (w *world) restart(*rapid.T) {
	state, _ := w.store.Load(context.Background())
	w.n = NewNetwork(state)
}

func (w *world) check(t *rapid.T) {
	names, addrs, keys := map[string]bool{}, map[netip.Addr]bool{}, map[PublicKey]bool{}
	for _, m := range w.n.Members() {
		if names[m.Name] || addrs[m.Addr4] || addrs[m.Addr6] || keys[m.WireGuard] {
			t.Fatalf("%+v shares its name, address or key", m)
		}
		names[m.Name], addrs[m.Addr4], addrs[m.Addr6], keys[m.WireGuard] = true, true, true, true
		if q, resting := w.n.quarantine[m.Addr4]; resting {
			t.Fatalf("%+v has an address in quarantine: %+v", m, q)
		}
		if m.ID >= w.n.settings.NextMember {
			t.Fatalf("number %d is to be given next, and is taken", m.ID)
		}
	}
	for hash, times := range w.admitted {
		if w.single[hash] && times > 1 {
			t.Fatalf("a single-use secret admitted %d", times)
		}
	}
}
