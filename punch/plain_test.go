package punch

import (
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"

	"meshd/punch/nattest"
	"meshd/punch/wire"
)

// initiate makes a WireGuard handshake initiation as its paper has it (5.4.2).
func initiate(t *testing.T, from *ecdh.PrivateKey, to Key, stamp byte) []byte {
	t.Helper()
	sum := func(parts ...[]byte) []byte { h := blake2s.Sum256(slices.Concat(parts...)); return h[:] }
	mac := func(key, data []byte) []byte {
		m := hmac.New(func() hash.Hash { h, _ := blake2s.New256(nil); return h }, key)
		m.Write(data)
		return m.Sum(nil)
	}
	chain := sum([]byte("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"))
	h := sum(chain, []byte("WireGuard v1 zx2c4 Jason@zx2c4.com"))
	h = sum(h, to[:])
	step := func(input []byte) (key []byte) {
		secret := mac(chain, input)
		chain = mac(secret, []byte{1})
		return mac(secret, append(slices.Clone(chain), 2))
	}
	agree := func(private *ecdh.PrivateKey) []byte {
		public, err := ecdh.X25519().NewPublicKey(to[:])
		if err != nil {
			t.Fatal(err)
		}
		secret, err := private.ECDH(public)
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	b := []byte{1, 0, 0, 0, stamp, 0, 0, 0}
	seal := func(key, plain []byte) {
		aead, err := chacha20poly1305.New(key)
		if err != nil {
			t.Fatal(err)
		}
		sealed := aead.Seal(nil, make([]byte, 12), plain, h)
		h, b = sum(h, sealed), append(b, sealed...)
	}
	ephemeral, err := ecdh.X25519().NewPrivateKey(sum([]byte{stamp}))
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, ephemeral.PublicKey().Bytes()...)
	h = sum(h, ephemeral.PublicKey().Bytes())
	step(ephemeral.PublicKey().Bytes())
	seal(step(agree(ephemeral)), from.PublicKey().Bytes())
	seal(step(agree(from)), []byte{0x40, 0, 0, 0, 0, 0, 0, stamp, 0, 0, 0, 0})
	m, err := blake2s.New128(sum([]byte("mac1----"), to[:]))
	if err != nil {
		t.Fatal(err)
	}
	m.Write(b)
	return append(m.Sum(b), make([]byte, 16)...)
}

// phone is a device with WireGuard alone: a key, and a socket of its port.
type phone struct {
	t      *testing.T
	key    *ecdh.PrivateKey
	socket *nattest.Socket
}

// hears returns the size of the next datagram that comes, within a second.
func (p *phone) hears() int {
	p.t.Helper()
	got := make(chan int, 1)
	go func() {
		buf, sizes, from := make([]byte, 2048), make([]int, 1), make([]netip.AddrPort, 1)
		if n, err := p.socket.Read([][]byte{buf}, sizes, from); err == nil && n > 0 {
			got <- sizes[0]
		}
	}()
	select {
	case n := <-got:
		return n
	case <-time.After(time.Second):
		p.t.Fatal("the phone hears nothing")
	}
	return 0
}

// at returns where others see the phone.
func (p *phone) at(core *nattest.Socket) netip.AddrPort {
	p.t.Helper()
	p.write([]byte("where am I?"), core.LocalAddr())
	buf, sizes, from := make([]byte, 2048), make([]int, 1), make([]netip.AddrPort, 1)
	if _, err := core.Read([][]byte{buf}, sizes, from); err != nil {
		p.t.Fatal(err)
	}
	return from[0]
}

func (p *phone) write(b []byte, to netip.AddrPort) {
	p.t.Helper()
	if err := p.socket.Write([][]byte{b}, to); err != nil {
		p.t.Fatal(err)
	}
}

func (w *world) listen(host *nattest.Host, addr string) *nattest.Socket {
	w.t.Helper()
	s, err := host.Listen(netip.MustParseAddrPort(addr))
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func TestPlainPeer(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		desk := w.add("desk", nattest.Linux)
		core := w.listen(w.net.Host(access, netip.MustParsePrefix("203.0.113.77/32")), "203.0.113.77:3478")
		defer core.Close()
		secret := sha256.Sum256([]byte("phone"))
		key, err := ecdh.X25519().NewPrivateKey(secret[:])
		if err != nil {
			t.Fatal(err)
		}
		host, _ := w.net.Place(access, nattest.Linux)
		p := &phone{t: t, key: key, socket: w.listen(host, "0.0.0.0:51820")}
		defer func() { p.socket.Close() }()
		id := Key(key.PublicKey().Bytes())
		status := func() PeerStatus { return desk.Status().Peers[id] }

		t.Log("the map names a phone that runs WireGuard alone, and where the hub heard it")
		w.mu.Lock()
		w.peers[id] = &Peer{Key: id, Name: "phone", Online: true, Plain: true}
		w.mu.Unlock()
		w.settle()
		if got := status(); got.Path != ViaNone || got.Reason != "not heard from yet" {
			t.Errorf("path = %v (%s), want none", got.Path, got.Reason)
		}
		at := p.at(core)
		w.mu.Lock()
		w.peers[id].Candidates = []wire.Candidate{{Kind: wire.Reflexive, Addr: at}}
		reached := w.peers[desk.key].Candidates[slices.IndexFunc(w.peers[desk.key].Candidates, func(c wire.Candidate) bool { return c.Kind == wire.Reflexive })].Addr
		w.mu.Unlock()
		w.tell(0)
		w.await("a way to the phone", time.Second, func() bool { return status().Addr == at })

		t.Log("its handshake does not get in, until the desk is told that it asked")
		p.write(initiate(t, key, desk.key, 1), reached)
		time.Sleep(time.Second)
		if got := len(desk.arrivals()); got != 0 {
			t.Fatalf("%d packets came through the desk's NAT, want none", got)
		}
		desk.Want(id)
		time.Sleep(100 * time.Millisecond)
		p.write(initiate(t, key, desk.key, 2), reached)
		w.await("the handshake", time.Second, func() bool { return len(desk.arrivals()) == 1 })
		if got := desk.arrivals()[0].from; got != id {
			t.Errorf("the handshake is %x's, want the phone's", got[:4])
		}
		if n := p.hears(); n != len(opener) {
			t.Errorf("the phone hears %d bytes first, want the opener", n)
		}
		if err := desk.Send(id, [][]byte{packet(7, false)}); err != nil {
			t.Fatal(err)
		}
		if n := p.hears(); n != len(packet(7, false)) {
			t.Errorf("the phone hears %d bytes, want a packet", n)
		}

		t.Log("no probes go there, ever")
		time.Sleep(10 * time.Minute)
		if sent := w.net.Delivered(desk.host, host).Packets; sent != 2 {
			t.Errorf("%d datagrams went to the phone, want the two", sent)
		}

		t.Log("it moves to another network, and the hub says where to")
		p.socket.Close()
		p.socket = w.listen(w.net.Host(access, netip.MustParsePrefix("203.0.113.78/32")), "203.0.113.78:51820")
		w.mu.Lock()
		w.peers[id].Candidates = []wire.Candidate{{Kind: wire.Reflexive, Addr: p.socket.LocalAddr()}}
		w.mu.Unlock()
		w.tell(0)
		w.await("the map's word", time.Second, func() bool { return status().Addr == p.socket.LocalAddr() })
		desk.Want(id)
		p.hears()
		p.write(initiate(t, key, desk.key, 3), reached)
		w.await("its handshake", time.Second, func() bool { return len(desk.arrivals()) == 2 })
	})
}

// TestPlainPeerRoams: a desk that anybody may send to learns from the handshake
// alone where a phone is, and believes no older one.
func TestPlainPeerRoams(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		desk := w.add("desk")
		secret := sha256.Sum256([]byte("phone"))
		key, err := ecdh.X25519().NewPrivateKey(secret[:])
		if err != nil {
			t.Fatal(err)
		}
		id := Key(key.PublicKey().Bytes())
		w.mu.Lock()
		w.peers[id] = &Peer{Key: id, Name: "phone", Online: true, Plain: true}
		w.mu.Unlock()
		w.settle()
		to := netip.AddrPortFrom(desk.host.Addr(), desk.Port())
		status := func() PeerStatus { return desk.Status().Peers[id] }
		for i, from := range []string{"203.0.113.80", "203.0.113.81", "203.0.113.82"} {
			s := w.listen(w.net.Host(access, netip.MustParsePrefix(from+"/32")), from+":51820")
			defer s.Close()
			stamp := byte(10 + i)
			if i == 2 {
				stamp = 9 // recorded before the first one
			}
			if err := s.Write([][]byte{initiate(t, key, desk.key, stamp)}, to); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			want := from + ":51820"
			if i == 2 {
				want = "203.0.113.81:51820"
			}
			if got := status(); got.Addr.String() != want || got.Path != ViaDirect || got.Reason != "handshake" {
				t.Errorf("after a handshake from %s: %+v, want %s", from, got, want)
			}
		}
		if got := len(desk.arrivals()); got != 3 {
			t.Errorf("%d handshakes reached WireGuard, want all 3", got)
		}
	})
}
