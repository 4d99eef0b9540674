package fastpath

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/device"

	"meshd/agent/tunnel/filter"
)

func TestPackets(t *testing.T) {
	for _, p := range pairs {
		t.Run(p.name, func(t *testing.T) {
			a, b := newPair(t, p.a, p.b)
			for _, n := range []int{0, 1, 11, 12, 13, 500, testMTU - header4 - 1, testMTU - header4} {
				a.pass(packet4(a, b, n))
				b.pass(packet4(b, a, n))
			}
			for _, n := range []int{0, 1, 1200, testMTU - header6} {
				a.pass(packet6(a, b, n))
				b.pass(packet6(b, a, n))
			}
		})
	}
}

// The device counts what the path moves: transport messages with their headers.
func TestCounters(t *testing.T) {
	a, b := newPair(t, true, true)
	a.pass(packet4(a, b, 0)) // which is counted after it has arrived
	const tx = device.MessageInitiationSize + 32 + 32
	await(t, "sender's counter of the first", func() bool { return a.from.sent(a.peer()).Load() == tx })
	rx := b.from.received(b.peer()).Load()
	a.pass(packet4(a, b, 100))
	a.pass(packet6(a, b, 100))
	const want = 128 + 32 + 144 + 32
	await(t, "sender's counter", func() bool { return a.from.sent(a.peer()).Load()-tx == want })
	await(t, "receiver's counter", func() bool { return b.from.received(b.peer()).Load()-rx == want })
}

// The first packets wait for the handshake in the device, whoever begins it. None is
// lost; of those that come while it ends two may change places, as two goroutines of
// the device send what waits.
func TestFirstPackets(t *testing.T) {
	for _, p := range pairs {
		t.Run(p.name, func(t *testing.T) {
			a, b := newPair(t, p.a, p.b)
			lost := make(chan bool, 100)
			a.onWire(func(b []byte) bool { // the handshake is lost at first
				lost <- true
				return false
			})
			var packets [][]byte
			for n := range 3 * slimQueue {
				packets = append(packets, packet4(a, b, n))
				a.write(packets[n])
			}
			<-lost
			a.onWire(nil)
			b.write(packet4(b, a, 7)) // the other side begins
			a.want(packet4(b, a, 7))
			var got [][]byte
			for range packets {
				got = append(got, b.read())
			}
			slices.SortFunc(got, func(x, y []byte) int { return len(x) - len(y) }) // each is longer by one
			if !slices.EqualFunc(got, packets, bytes.Equal) {
				t.Errorf("got %d packets, not those that were sent", len(got))
			}
			b.pass(packet4(b, a, 8))
		})
	}
}

// A bundle is sealed as it lies in the buffer, and padded nowhere else.
func TestBundle(t *testing.T) {
	a, b := newPair(t, true, true)
	a.pass(packet4(a, b, 1))
	var frames, want [][]byte
	for _, n := range []int{1180, 1180, 5, 1380, 0, 1180} {
		p := packet4(a, b, n)
		want = append(want, p)
		frames = append(frames, append(make([]byte, 10), p...))
	}
	frames = append(frames, make([]byte, 10), nil, []byte("short"), append(make([]byte, 10), 0x45), append(make([]byte, 10), packet4(a, a, 3)...))
	out := newOutbound(a.path, a.from)
	out.take(frames)
	b.want(want...)
	a.pass(packet4(a, b, 2))
}

// One end with many others, whose packets come and go mixed.
func TestManyPeers(t *testing.T) {
	hub, first := newPair(t, true, true)
	spokes := []*end{first}
	for n := byte(3); n < 8; n++ {
		s := newEnd(t, n)
		s.far = hub
		hub.others = append(hub.others, s)
		spokes = append(spokes, s)
	}
	for i, s := range spokes[1:] {
		hub.set("%s", describe(s))
		s.start(i%2 == 0)
	}
	for _, s := range spokes {
		s.pass(packet4(s, hub, 1))
	}
	const each = 30
	var frames, sealed [][]byte
	for n := range each {
		for _, s := range spokes {
			frames = append(frames, append(make([]byte, 10), packet4(hub, s, 1000+n)...))
			sealed = append(sealed, s.forge(1<<32+2*uint64(n), packet4(s, hub, n)))
			other := packet4(spokes[0], hub, n)
			if s != spokes[0] { // whose address is not its to use
				sealed = append(sealed, s.forge(1<<32+2*uint64(n)+1, other))
			}
		}
	}
	newOutbound(hub.path, hub.from).take(frames)
	for _, s := range spokes {
		for n := range each {
			s.want(packet4(hub, s, 1000+n))
		}
	}
	in := newInbound(hub.path, &sessions{from: hub.from, all: make(map[uint32]*session)}, hub.path.tun.NewWriter())
	_, before := hub.path.Packets()
	in.take(sealed, make([]Key, len(sealed)))
	if _, after := hub.path.Packets(); after < before+uint64(len(sealed)) {
		t.Errorf("opened %d packets of %d", after-before, len(sealed))
	}
	for n := range each {
		for _, s := range spokes {
			hub.want(packet4(s, hub, n))
		}
	}
	first.pass(packet4(first, hub, 2))
}

// More than fits into the arena or one call of the transport.
func TestManyPackets(t *testing.T) {
	a, b := newPair(t, true, true)
	a.pass(packet4(a, b, 1))
	var frames, want [][]byte
	for n := range 3 * sendBatch {
		p := packet4(a, b, 1000+n)
		want = append(want, p)
		frames = append(frames, append(make([]byte, 10), p...))
	}
	before, _ := a.path.Packets()
	newOutbound(a.path, a.from).take(frames)
	if after, _ := a.path.Packets(); after < before+uint64(len(frames)) {
		t.Errorf("sealed %d packets of %d", after-before, len(frames))
	}
	b.want(want...)
}

// What is handed to the device while nobody answers is bounded.
func TestStageIsBounded(t *testing.T) {
	a, b := newPair(t, true, false)
	a.onWire(func([]byte) bool { return false })
	for range 4 * stageQueue {
		a.write(packet4(a, b, 9))
	}
	a.onWire(nil)
	b.pass(packet4(b, a, 1))
}

func TestHandshakesAreBounded(t *testing.T) {
	p, err := New((*memTUN)(newEnd(t, 1)), (*memTransport)(newEnd(t, 1)), filter.New(nil))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 * handshakeQueue {
		p.divert(make([]byte, device.MessageInitiationSize), Key{})
	}
	if n := len(p.handshakes); n != handshakeQueue {
		t.Errorf("%d handshakes wait, want %d", n, handshakeQueue)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	a, b := newPair(t, true, true)
	a.pass(packet4(a, b, 1))
	frame := append(make([]byte, 10), packet4(a, b, 1180)...)
	frames := [][]byte{frame, frame, frame, frame}
	held := make([][]byte, 0, 8)
	path, err := New(a.path.tun, &keeper{kept: &held}, filter.New(nil))
	if err != nil {
		t.Fatal(err)
	}
	out := newOutbound(path, a.from)
	in := newInbound(b.path, &sessions{from: b.from, all: make(map[uint32]*session)}, discard{})
	peers := make([]Key, 8)
	got := testing.AllocsPerRun(100, func() {
		out.take(frames)
		in.take(held, peers)
		held = held[:0]
	})
	if got != 0 {
		t.Errorf("%v allocations in 4 packets sent and received, want none", got)
	}
}

// keeper is a transport that keeps what is sent until it is received, which is at
// once.
type keeper struct{ kept *[][]byte }

func (k *keeper) Views() []func([][]byte, []Key) (int, error) { return nil }
func (k *keeper) Close() error                                { return nil }
func (k *keeper) Send(_ Key, bufs [][]byte) error {
	*k.kept = append(*k.kept, bufs...)
	return nil
}

type discard struct{}

func (discard) Add([]byte) error { return nil }
func (discard) Flush() error     { return nil }

// A TUN that fails takes the device with it, and its error is the device's.
func TestEnd(t *testing.T) {
	for _, what := range []string{"device", "TUN", "transport"} {
		t.Run(what, func(t *testing.T) {
			a, b := newPair(t, true, true)
			a.pass(packet4(a, b, 1))
			switch what {
			case "device":
				a.dev.Close()
			case "TUN":
				a.close()
			case "transport":
				a.path.Close()
				a.dev.Close()
			}
			select {
			case <-a.dev.Wait():
			case <-time.After(patience):
				t.Fatal("the device goes on")
			}
			<-a.ended
		})
	}
}

func TestBrokenTUN(t *testing.T) {
	e := newEnd(t, 1)
	e.far = newEnd(t, 2)
	broken := errors.New("broken")
	p, err := New(brokenTUN{(*memTUN)(e), broken}, (*memTransport)(e), filter.New(nil))
	if err != nil {
		t.Fatal(err)
	}
	d := device.NewDevice(p.TUN(), (*memBind)(e), device.NewLogger(device.LogLevelSilent, ""))
	p.Run(d)
	if _, err := p.TUN().Read(make([][]byte, 1), make([]int, 1), 0); err != broken {
		t.Errorf("the device reads %v, want %v", err, broken)
	}
	<-d.Wait()
}

type brokenTUN struct {
	*memTUN
	err error
}

func (b brokenTUN) ReadFrames([][]byte) (int, error) { return 0, b.err }

// A source that fails now and then is asked again.
func TestFaultySource(t *testing.T) {
	a, b := newPair(t, true, true)
	a.pass(packet4(a, b, 1))
	sealed := a.hold(packet4(a, b, 2))[0]
	calls := 0
	in := newInbound(b.path, &sessions{from: b.from, all: make(map[uint32]*session)}, b.path.tun.NewWriter())
	in.loop(func(packets [][]byte, _ []Key) (int, error) {
		switch calls++; calls {
		case 1:
			return 0, os.ErrDeadlineExceeded
		case 2:
			packets[0] = bytes.Clone(sealed)
			return 1, nil
		}
		return 0, os.ErrPermission
	})
	if calls != 2+maxFaults {
		t.Errorf("asked %d times, want %d in vain at the end", calls, maxFaults)
	}
	b.want(packet4(a, b, 2))
}

// await fails the test unless done comes true in time.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
