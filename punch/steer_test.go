package punch

import (
	"crypto/ecdh"
	"crypto/sha256"
	"net/netip"
	"testing"
	"time"

	"meshd/punch/nattest"
	"meshd/punch/wire"
)

// TestKernelSendsByItself has a kernel's WireGuard on both ends: of the packets
// that go straight the engines learn by counters alone, ten times a second.
func TestKernelSendsByItself(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := w.pair(nattest.PortRestricted, nattest.PortRestricted)
		if got := a.Direct(b.key); got.IsValid() {
			t.Fatalf("before there is a path, packets go to %v", got)
		}
		a.send(b, 1)
		w.awaitDirect(a, b, 5*time.Second)
		w.settle()
		to := a.Direct(b.key)
		if to != a.path(b).Addr {
			t.Fatalf("packets go to %v, the path leads to %v", to, a.path(b).Addr)
		}
		turned := func() bool {
			select {
			case <-a.Turned():
				return true
			default:
				return false
			}
		}
		if !turned() || turned() {
			t.Error("want one word of the turn, until there is another")
		}

		t.Log("packets move both ways: nothing changes")
		moved := func(d time.Duration, sent, received int, until func() bool) time.Duration {
			start := time.Now()
			for time.Since(start) < d && !until() {
				a.Moved(b.key, sent, received, received, false)
				if received > 0 { // nothing is cut
					b.Moved(a.key, received, sent, sent, false)
				}
				time.Sleep(100 * time.Millisecond)
			}
			return time.Since(start)
		}
		moved(time.Minute, 10, 10, turned)
		if got := a.Direct(b.key); got != to {
			t.Errorf("packets go to %v, want %v", got, to)
		}

		t.Log("the path is cut: packets go out, none come")
		w.net.Cut(public(w, a), public(w, b))
		took := moved(10*time.Second, 10, 0, func() bool { return !a.Direct(b.key).IsValid() })
		if took >= time.Second {
			t.Errorf("packets went nowhere for %v, want less than a second", took)
		}
		if !turned() {
			t.Error("no word of the turn")
		}

		t.Log("a handshake that the engine saw go out was answered where it doesn't see")
		a.Send(b.key, [][]byte{initiation()})
		if a.mux.table.Load().flows[b.key].asking().IsZero() {
			t.Error("an initiation was not noted")
		}
		a.Moved(b.key, 0, 0, 1, true)
		if !a.mux.table.Load().flows[b.key].asking().IsZero() {
			t.Error("an initiation waits for its answer for ever")
		}

		t.Log("strangers move nothing")
		a.Moved(Key{9}, 1, 1, 1, true)
		if got := a.Direct(Key{9}); got.IsValid() || a.Roamed(Key{9}, to) || a.Roamed(b.key, to) {
			t.Errorf("a stranger's packets go to %v", got)
		}
	})
}

// TestKernelHearsAPlainPeer has the kernel tell where a peer is that runs
// WireGuard alone: its handshakes come by no other door.
func TestKernelHearsAPlainPeer(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		desk := w.add("desk", nattest.Linux)
		secret := sha256.Sum256([]byte("phone"))
		key, err := ecdh.X25519().NewPrivateKey(secret[:])
		if err != nil {
			t.Fatal(err)
		}
		id := Key(key.PublicKey().Bytes())
		w.mu.Lock()
		told := netip.MustParseAddrPort("203.0.113.77:51820")
		w.peers[id] = &Peer{Key: id, Name: "phone", Online: true, Plain: true, Candidates: []wire.Candidate{{Kind: wire.Reflexive, Addr: told}}}
		w.mu.Unlock()
		w.tell(0)
		w.await("the map's word", time.Second, func() bool { return desk.Direct(id) == told })
		<-desk.Turned()
		heard := netip.MustParseAddrPort("203.0.113.78:51820")
		if !desk.Roamed(id, heard) {
			t.Fatal("the kernel is not to follow")
		}
		<-desk.Turned()
		if got := desk.Direct(id); got != heard {
			t.Errorf("its packets go to %v, want %v", got, heard)
		}
	})
}

// initiation has the shape of one.
func initiation() []byte {
	b := make([]byte, 148)
	b[0] = typeInitiation
	return b
}
