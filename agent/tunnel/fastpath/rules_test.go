package fastpath

import (
	"encoding/binary"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.zx2c4.com/wireguard/device"

	"meshd/agent/tunnel/filter"
)

// WireGuard's rules, one by one. b has the fast path; a is wireguard-go alone, and
// the network between them does what an attacker could.

func newVictim(t *testing.T) (a, b *end) {
	t.Helper()
	a, b = newPair(t, false, true)
	a.pass(packet4(a, b, 1))
	b.pass(packet4(b, a, 1))
	return a, b
}

// refuses delivers what must not arrive, and then something that must.
func (e *end) refuses(what string, packets ...[]byte) {
	e.t.Helper()
	for _, p := range packets {
		e.deliver(p)
	}
	p := packet4(e.far, e, 77)
	e.far.write(p)
	if got := e.read(); string(got) != string(p) {
		e.t.Fatalf("%s: a packet of %d bytes came through: %.28x…", what, len(got), got)
	}
}

func TestReplay(t *testing.T) {
	a, b := newVictim(t)
	first := packet4(a, b, 2)
	sealed := a.hold(first)[0]
	b.deliver(sealed)
	b.want(first)
	b.refuses("replay", sealed, sealed)
	b.refuses("replay of what is not the latest", sealed)
}

// The packet that confirms a keypair, and keepalives, go the same way as all.
func TestReplayOfFirstPackets(t *testing.T) {
	a, b := newPair(t, false, true)
	var mu sync.Mutex
	var sent [][]byte
	a.onWire(func(b []byte) bool {
		mu.Lock()
		defer mu.Unlock()
		if b[0] == device.MessageTransportType {
			sent = append(sent, slices.Clone(b))
		}
		return true
	})
	a.pass(packet4(a, b, 1))
	a.peer().SendKeepalive()
	await(t, "keepalive", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(sent) >= 2 // the packet, which confirmed, and the keepalive
	})
	a.onWire(nil)
	b.refuses("replay", sent...)
	rx := b.from.received(b.peer()).Load()
	b.refuses("replay", sent...)
	// Only the packet that refuses sends itself.
	await(t, "counter", func() bool { return b.from.received(b.peer()).Load() == rx+112+32 })
}

func TestReorder(t *testing.T) {
	a, b := newVictim(t)
	var packets [][]byte
	for n := range 100 {
		packets = append(packets, packet4(a, b, n))
	}
	sealed := a.hold(packets...)
	slices.Reverse(packets)
	slices.Reverse(sealed)
	for _, s := range sealed {
		b.deliver(s)
	}
	b.want(packets...)
	b.refuses("replay out of order", sealed...)
}

// windowSize is that of package replay: 128 blocks of 64 but one.
const windowSize = 127 * 64

func TestWindow(t *testing.T) {
	a, b := newVictim(t)
	early := []([]byte){packet4(a, b, 3), packet4(a, b, 4), packet4(a, b, 5)}
	sealed := a.hold(early...)
	last := binary.LittleEndian.Uint64(sealed[2][8:])
	// The next counter is windowSize above that of early[1], which is the last to
	// be taken.
	a.from.nonce(a.keypair()).Store(last - 1 + windowSize)
	a.pass(packet4(a, b, 6))
	for _, s := range sealed {
		b.deliver(s)
	}
	b.want(early[1], early[2])
	b.refuses("behind the window", sealed[0])
}

func TestForged(t *testing.T) {
	a, b := newVictim(t)
	good := packet4(a, b, 40)
	sealed := a.hold(good)[0]
	for at := range sealed {
		bad := slices.Clone(sealed)
		bad[at] ^= 0x10
		b.deliver(bad)
	}
	b.refuses("changed")
	other := slices.Clone(sealed)
	k := b.keypair()
	copy(other[16:], b.from.sealer(k).Seal(nil, append(make([]byte, 4), sealed[8:16]...), good, nil))
	b.refuses("sealed with another key", other)
	b.deliver(sealed) // none of these has moved the window
	b.want(good)
}

func TestTruncated(t *testing.T) {
	a, b := newVictim(t)
	good := packet4(a, b, 200)
	sealed := a.hold(good)[0]
	for n := range sealed {
		b.deliver(sealed[:n])
	}
	b.refuses("cut short")
	b.refuses("prolonged", append(slices.Clone(sealed), 0), append(slices.Clone(sealed), make([]byte, 16)...))
	b.deliver(sealed)
	b.want(good)
}

// What is inside is no better than it says: these open.
func TestInside(t *testing.T) {
	a, b := newVictim(t)
	foreign4, foreign6 := packet4(a, b, 20), packet6(a, b, 20)
	foreign4[source4+3], foreign6[source6+15] = 9, 9
	own := packet4(b, a, 20)
	longer := packet4(a, b, 20)
	binary.BigEndian.PutUint16(longer[2:], 41)
	shorter := packet4(a, b, 20)
	binary.BigEndian.PutUint16(shorter[2:], 19)
	longer6 := packet6(a, b, 20)
	binary.BigEndian.PutUint16(longer6[4:], 21)
	huge6 := packet6(a, b, 20)
	binary.BigEndian.PutUint16(huge6[4:], 65535)
	counter := a.from.nonce(a.keypair())
	for what, plain := range map[string][]byte{
		"source of nobody": foreign4, "source of nobody, IPv6": foreign6, "source of the receiver": own,
		"longer than it is": longer, "shorter than a header": shorter,
		"longer than it is, IPv6": longer6, "wrapped length, IPv6": huge6,
		"half an IPv4 header": packet4(a, b, 0)[:19], "half an IPv6 header": packet6(a, b, 0)[:39],
		"no IP": {0x50, 1, 2, 3}, "one byte": {0x45}, "zeros": make([]byte, 64),
	} {
		b.refuses(what, a.forge(counter.Add(1)-1, plain))
	}
	// Padding is not part of a packet, however much there is.
	good := packet4(a, b, 20)
	b.deliver(a.forge(counter.Add(1)-1, append(good, make([]byte, 100)...)))
	b.want(good)
}

func TestCounterLimitReceiving(t *testing.T) {
	a, b := newVictim(t)
	good := packet4(a, b, 2)
	b.refuses("counter at the limit", a.forge(device.RejectAfterMessages, good), a.forge(1<<64-1, good))
	b.deliver(a.forge(device.RejectAfterMessages-1, good))
	b.want(good)
}

// Past the last nonce packets wait for new keys; none is lost or sealed twice.
func TestCounterLimitSending(t *testing.T) {
	a, b := newPair(t, true, false)
	a.pass(packet4(a, b, 1))
	old := a.keypair()
	a.onWire(func(b []byte) bool { return b[0] != device.MessageInitiationType })
	a.from.nonce(old).Store(device.RejectAfterMessages - 2)
	var frames, packets [][]byte
	for n := range 5 {
		packets = append(packets, packet4(a, b, n))
		frames = append(frames, append(make([]byte, 10), packets[n]...))
	}
	newOutbound(a.path, a.from).take(frames)
	b.want(packets[:2]...)
	if n := a.from.nonce(old).Load(); n != device.RejectAfterMessages {
		t.Errorf("the counter is at %d, want %d", n, uint64(device.RejectAfterMessages))
	}
	a.write(packet4(a, b, 6))
	a.onWire(nil)
	forgetHandshakes(t, b)
	a.forgetAndInitiate()
	// In any order: the device sends what waited from two goroutines.
	late := make(map[string]int)
	waiting := append(packets[2:], packet4(a, b, 6))
	for range waiting {
		late[string(b.read())]++
	}
	for _, p := range waiting {
		if late[string(p)] != 1 {
			t.Errorf("the packet of %d bytes came %d times", len(p), late[string(p)])
		}
	}
	if a.keypair() == old {
		t.Error("the keypair is still in use")
	}
}

// From RekeyAfterMessages on, new keys are asked for while the old ones carry on.
func TestRekeyAfterMessages(t *testing.T) {
	a, b := newPair(t, true, false)
	a.pass(packet4(a, b, 1))
	old := a.keypair()
	forgetHandshakes(t, a)
	forgetHandshakes(t, b)
	a.from.nonce(old).Store(device.RekeyAfterMessages)
	a.pass(packet4(a, b, 2))
	await(t, "new keypair", func() bool { return a.keypair() != old })
}

func TestExpiryReceiving(t *testing.T) {
	a, b := newVictim(t)
	good := packet4(a, b, 2)
	sealed := a.hold(good)[0]
	b.skew.Store(int64(device.RejectAfterTime + time.Second))
	b.deliver(sealed)
	before := b.from.received(b.peer()).Load()
	// The loop has come round when it has taken a handshake message; no packet
	// could tell.
	a.forgetAndInitiate()
	await(t, "handshake", func() bool { return b.from.received(b.peer()).Load() >= before+device.MessageInitiationSize })
	select {
	case p := <-b.in:
		t.Errorf("a packet of %d bytes came through under an old key", len(p))
	default:
	}
}

// What an old key must not seal goes to the device, which judges for itself.
func TestExpirySending(t *testing.T) {
	a, b := newPair(t, true, false)
	a.pass(packet4(a, b, 1))
	now := time.Now()
	out := newOutbound(a.path, a.from)
	for age, want := range map[time.Duration]bool{
		0: true, device.RejectAfterTime - time.Second: true, device.RejectAfterTime + time.Second: false,
	} {
		if got := out.usable(a.peer(), now.Add(age)).Keypair != nil; got != want {
			t.Errorf("key %v old: usable %v, want %v", age, got, want)
		}
	}
	a.skew.Store(int64(device.RejectAfterTime + time.Second))
	a.pass(packet4(a, b, 2))
}

// Keys are renewed by either side while packets flow, and none is lost; those
// that a renewal overtook still count, and those of keys before the last two do not.
func TestRekey(t *testing.T) {
	for _, p := range pairs {
		t.Run(p.name, func(t *testing.T) {
			a, b := newPair(t, p.a, p.b)
			a.pass(packet4(a, b, 1))
			var late [][]byte
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for round := range 6 {
				from := []*end{a, b}[round%2]
				good := packet4(a, b, 100+round)
				sealed := a.hold(good)[0]
				old := a.keypair()
				from.forgetAndInitiate()
				for n := 0; a.keypair() == old; n++ {
					<-tick.C // so that the window does not pass
					a.pass(packet4(a, b, n%500))
					b.pass(packet4(b, a, n%500))
				}
				b.pass(packet4(b, a, 1))
				a.pass(packet4(a, b, 2))
				// The keys before these are still there on the side that began; the other
				// has dropped them if it makes the next ones first.
				b.deliver(sealed)
				b.want(good)
				late = append(late, a.hold(packet4(a, b, 3))[0])
			}
			b.refuses("keys of long ago", late[:len(late)-2]...)
		})
	}
}

func TestRemovedPeer(t *testing.T) {
	a, b := newVictim(t)
	sealed := a.hold(packet4(a, b, 2))[0]
	peer := b.peer()
	b.set("public_key=%x\nremove=true\n", a.key)
	b.deliver(sealed)
	newOutbound(b.path, b.from).take([][]byte{append(make([]byte, 10), packet4(b, a, 5)...)}) // to nobody
	b.set("%s", describe(a))
	if b.peer() == peer {
		t.Fatal("the peer was not removed")
	}
	forgetHandshakes(t, a)
	b.pass(packet4(b, a, 3))
	b.refuses("sealed before the removal", sealed)
}

// What the owner does not let in is authentic, and counts as received; it just does
// not come out.
func TestInbound(t *testing.T) {
	a, b := newPair(t, true, true)
	a.pass(packet4(a, b, 1))
	b.path.filter.Set(filter.Rules{})
	_, before := b.path.Packets()
	a.write(packet4(a, b, 2))
	await(t, "packet that is not let in", func() bool { _, opened := b.path.Packets(); return opened == before+1 })
	b.pass(packet4(b, a, 3))
	a.pass(packet4(a, b, 4)) // in answer to that
	a.write(packet6(a, b, 5))
	await(t, "packet that is not let in", func() bool { _, opened := b.path.Packets(); return opened == before+3 })
	b.path.filter.Set(nil)
	a.pass(packet6(a, b, 6))
}

// Sessions are let go of with the device's keypairs.
func TestSweep(t *testing.T) {
	a, b := newVictim(t)
	all := &sessions{from: b.from, all: make(map[uint32]*session)}
	sealed := a.hold(packet4(a, b, 2))[0]
	index := binary.LittleEndian.Uint32(sealed[4:])
	s := all.find(index)
	if s == nil || all.find(index) != s {
		t.Fatal("no session, or two for one keypair")
	}
	if all.find(index+1) != nil {
		t.Error("a session for an index that nobody has")
	}
	if all.sweep(); len(all.all) != 1 {
		t.Error("a session in use was swept")
	}
	b.peer().ZeroAndFlushAll()
	if all.find(index) != nil {
		t.Error("the session outlives the keys")
	}
	if all.sweep(); len(all.all) != 0 {
		t.Error("the session was kept")
	}
}

// The device's timers know of the traffic: who only receives says after 10 s that
// it is still there, and who is not answered asks for new keys after 15 s.
func TestTimers(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, true, true)
	a.pass(packet4(a, b, 1))
	keepalives := make(chan bool, 10)
	b.onWire(func(p []byte) bool {
		if len(p) == device.MessageKeepaliveSize {
			keepalives <- true
		}
		return false // a hears nothing
	})
	begun := a.sent(device.MessageInitiationType)
	a.pass(packet4(a, b, 2))
	select {
	case <-keepalives:
	case <-time.After(patience):
		t.Error("no keepalive from who only receives")
	}
	await(t, "handshake from who hears nothing", func() bool { return a.sent(device.MessageInitiationType) > begun })
}

// forgetHandshakes lets a peer make its next handshake at once: WireGuard would
// wait 5 s between two of its own. Those of the other side it takes for a flood
// when they come too close.
func forgetHandshakes(t testing.TB, e *end) {
	t.Helper()
	<-time.After(2 * device.HandshakeInitationRate)
	at := func(path string, want reflect.Type) unsafe.Pointer {
		off, err := offset(reflect.TypeFor[device.Peer](), path, want)
		if err != nil {
			t.Fatal(err)
		}
		return unsafe.Add(unsafe.Pointer(e.peer()), off)
	}
	mu := (*sync.RWMutex)(at("handshake.mutex", reflect.TypeFor[sync.RWMutex]()))
	last := (*time.Time)(at("handshake.lastSentHandshake", reflect.TypeFor[time.Time]()))
	mu.Lock()
	defer mu.Unlock()
	*last = time.Time{}
}

// forgetAndInitiate begins a handshake now.
func (e *end) forgetAndInitiate() {
	e.t.Helper()
	forgetHandshakes(e.t, e)
	if err := e.peer().SendHandshakeInitiation(false); err != nil {
		e.t.Fatal(err)
	}
}
