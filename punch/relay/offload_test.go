package relay

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"meshd/punch/relay/inkernel"
	"meshd/punch/wire"
)

// flowOf is what comes from a member at an address for a pair.
func flowOf(from netip.AddrPort, epoch uint16, pair wire.RelayID) flow {
	return flow{leg{0, from}, 0xd201<<48 | uint64(epoch)<<32 | uint64(pair)}
}

var aliceToBob, bobToAlice = flowOf(home, 7, alice^bob), flowOf(hotel, 7, alice^bob)

func TestMeter(t *testing.T) {
	const enough = busyRate / 4
	var m meter
	for _, row := range []struct {
		what string
		add  int
		at   time.Duration
		want []flow
	}{
		{"the first look begins", 0, 0, nil},
		{"too early to tell", enough, 249 * time.Millisecond, nil},
		{"a quarter of a second with a quarter of the rate", 0, 250 * time.Millisecond, []flow{aliceToBob}},
		{"it counts anew", 0, 500 * time.Millisecond, nil},
		{"a byte too few", enough - 1, 750 * time.Millisecond, nil},
		{"as much after a long pause is little", enough, time.Minute, nil},
		{"much after a long pause is much", 60 * busyRate, 2 * time.Minute, []flow{aliceToBob}},
	} {
		m.bytesOf(aliceToBob, row.add)
		if got := m.busy(start.Add(row.at)); !slices.Equal(got, row.want) {
			t.Errorf("%s: busy = %v, want %v", row.what, got, row.want)
		}
	}
	for i := range 2 * maxMetered {
		m.add(flowOf(home, 7, wire.RelayID(i)), 1)
	}
	if len(m.bytes) != maxMetered {
		t.Errorf("%d flows are measured, want %d at most", len(m.bytes), maxMetered)
	}
}

func (m *meter) bytesOf(f flow, n int) {
	if n > 0 {
		m.add(f, n)
	}
}

// fakeKernel is a kernel that remembers, and forwards what a test says.
type fakeKernel struct {
	installed map[inkernel.Flow]inkernel.Exit
	bytes     map[inkernel.Flow]uint64
	installs  map[inkernel.Flow]int
	limits    map[uint32][2]uint64
	broken    error
}

func (k *fakeKernel) Limit(id uint32, rate, burst uint64) error {
	k.limits[id] = [2]uint64{rate, burst}
	return nil
}

func (k *fakeKernel) Install(f inkernel.Flow, _ inkernel.Path, e inkernel.Exit, _ inkernel.Path) error {
	if k.broken == nil {
		k.installed[f] = e
		k.installs[f]++
	}
	return k.broken
}

func (k *fakeKernel) Remove(f inkernel.Flow) inkernel.Count {
	n := k.Count(f)
	delete(k.installed, f)
	delete(k.bytes, f)
	return n
}

func (k *fakeKernel) Count(f inkernel.Flow) inkernel.Count {
	return inkernel.Count{Packets: k.bytes[f] / 1000, Bytes: k.bytes[f]}
}

func (k *fakeKernel) Close() {}

// moods is a Directory that may turn against Bob.
type moods struct {
	directory
	forbidden bool
}

func (m *moods) May(from, to wire.RelayID) bool {
	return m.directory.May(from, to) && !(m.forbidden && (from == bob || to == bob))
}

// offloading is a relay with Alice at home and Bob in a hotel, both at socket 0, whose
// address is any of the host's, and a kernel.
type offloading struct {
	*offloader
	kernel  *fakeKernel
	members *moods
	in      inkernel.Flow // from Alice to Bob
	iface   int
}

func newOffloading(t *testing.T, rate float64) *offloading {
	o := &offloading{members: &moods{}, iface: 2, kernel: &fakeKernel{
		installed: map[inkernel.Flow]inkernel.Exit{}, bytes: map[inkernel.Flow]uint64{}, installs: map[inkernel.Flow]int{}, limits: map[uint32][2]uint64{},
	}}
	h := newHandler(ServerConfig{Directory: o.members, Rate: rate}, 7, relayAddrs)
	bindAt(t, start, h, alice, home)
	bindAt(t, start, h, bob, hotel)
	bound := slices.Clone(relayAddrs)
	bound[0] = netip.MustParseAddrPort("0.0.0.0:3478")
	o.offloader = newOffloader(h, bound, o.kernel, slog.New(slog.DiscardHandler))
	o.offloader.pathTo = func(to, from netip.Addr) (inkernel.Path, error) {
		if to.Is6() {
			return inkernel.Path{}, inkernel.ErrNoPath
		}
		if from.IsUnspecified() {
			from = relayAddrs[0].Addr()
		}
		return inkernel.Path{Source: from, Interface: o.iface, MTU: 1500}, nil
	}
	h.moved = o.forget
	o.in = inkernel.Flow{From: home, At: relayAddrs[0], Head: [8]byte{0xd2, 1, 0, 7, 0, 0, 0, byte(alice ^ bob)}}
	return o
}

func (o *offloading) reviewBusy(at time.Time, busy ...flow) {
	o.report(busy)
	o.review(at)
}

func TestInstall(t *testing.T) {
	for _, row := range []struct {
		what string
		flow flow
		want bool
	}{
		{"alice to bob", aliceToBob, true},
		{"a stranger to bob", flowOf(office, 7, alice^bob), false},
		{"alice at another socket", flow{leg{1, home}, aliceToBob.head}, false},
		{"of an epoch that is past", flowOf(home, 6, alice^bob), false},
		{"to carol, who is away", flowOf(home, 7, alice^carol), false},
		{"to herself", flowOf(home, 7, 0), false},
		{"to nobody", flowOf(home, 7, alice), false},
		{"not in bundles", flow{aliceToBob.from, aliceToBob.head | 0x80<<48}, false},
		{"no data", flow{aliceToBob.from, 0xd202<<48 | aliceToBob.head&(1<<48-1)}, false},
	} {
		o := newOffloading(t, 0)
		o.reviewBusy(start, row.flow, row.flow)
		if got := len(o.kernel.installs) > 0; got != row.want {
			t.Errorf("%s: installed = %v, want %v", row.what, got, row.want)
		}
	}
	o := newOffloading(t, 0)
	o.reviewBusy(start, aliceToBob)
	want := inkernel.Exit{From: relayAddrs[0], To: hotel}
	if got := o.kernel.installed[o.in]; got != want || len(o.kernel.installed) != 2 || len(o.kernel.limits) != 0 {
		t.Errorf("installed %+v, want %+v and its reverse", o.kernel.installed, want)
	}

	t.Log("a kernel that refuses is asked again, and the flow stays where it is")
	o = newOffloading(t, 0)
	o.kernel.broken = errors.New("no")
	o.reviewBusy(start, aliceToBob)
	o.kernel.broken = nil
	if flows, _ := o.count(); flows != 0 {
		t.Errorf("%d flows, want none", flows)
	}
	o.reviewBusy(start, aliceToBob)
	if flows, _ := o.count(); flows != 2 {
		t.Errorf("%d flows, want both ways", flows)
	}
}

// TestForget has things happen to a flow in the kernel. Most end it before whoever
// did them is back; what nobody tells of ends it at the next review.
func TestForget(t *testing.T) {
	soon := start.Add(reviewTime)
	for _, row := range []struct {
		what     string
		happens  func(t *testing.T, o *offloading)
		at       time.Time // of a review; zero: not needed
		stays    bool
		installs int
	}{
		{"nothing", func(*testing.T, *offloading) {}, soon, true, 1},
		{"alice moves", func(t *testing.T, o *offloading) { bindAt(t, start, o.handler, alice, office) }, time.Time{}, false, 1},
		{"bob moves", func(t *testing.T, o *offloading) { bindAt(t, start, o.handler, bob, office) }, time.Time{}, false, 1},
		{"bob chooses another socket", func(t *testing.T, o *offloading) {
			o.handler.handle(start, leg{1, hotel}, challenge(t, start, o.handler, bob, leg{1, hotel}))
		}, time.Time{}, false, 1},
		{"carol takes bob's address", func(t *testing.T, o *offloading) { bindAt(t, start, o.handler, carol, hotel) }, time.Time{}, false, 1},
		{"alice is dropped", func(t *testing.T, o *offloading) { o.handler.remove(alice) }, time.Time{}, false, 1},
		{"bob is dropped", func(t *testing.T, o *offloading) { o.handler.remove(bob) }, time.Time{}, false, 1},
		{"alice comes by TLS", func(t *testing.T, o *offloading) { o.handler.attach(alice, &fakePipe{}, home) }, time.Time{}, false, 1},
		{"bob comes by TLS", func(t *testing.T, o *offloading) { o.handler.attach(bob, &fakePipe{}, home) }, time.Time{}, false, 1},
		{"both expire", func(t *testing.T, o *offloading) { o.handler.expire(start.Add(sessionIdle)) }, time.Time{}, false, 1},
		{"they may not any more", func(t *testing.T, o *offloading) { o.members.forbidden = true }, soon, false, 1},
		{"it is idle for long", func(*testing.T, *offloading) {}, start.Add(idleTime), false, 1},
		{"it moves, but alice is not heard", func(t *testing.T, o *offloading) { o.kernel.bytes[o.in] = 1000 }, start.Add(unheardTime), false, 1},
		{"it moves", func(t *testing.T, o *offloading) { o.kernel.bytes[o.in] = 1000 }, start.Add(idleTime), true, 1},
		{"the route is another", func(t *testing.T, o *offloading) { o.iface = 3 }, soon, true, 2},
		{"the route is gone", func(t *testing.T, o *offloading) { o.iface = 0 }, soon, false, 1},
		{"the relay ends", func(t *testing.T, o *offloading) { o.close() }, time.Time{}, false, 1},
		{"the relay ends, and a review comes late", func(t *testing.T, o *offloading) { o.close(); o.reviewBusy(soon, aliceToBob) }, time.Time{}, false, 1},
	} {
		t.Run(row.what, func(t *testing.T) {
			o := newOffloading(t, 0)
			o.reviewBusy(start, aliceToBob)
			row.happens(t, o)
			if !row.at.IsZero() {
				o.review(row.at)
			}
			if _, got := o.kernel.installed[o.in]; got != row.stays || o.kernel.installs[o.in] != row.installs {
				t.Errorf("installed = %v after %d times, want %v after %d", got, o.kernel.installs[o.in], row.stays, row.installs)
			}
		})
	}
}

// What the kernel counted is kept when a flow ends.
func TestKernelCounts(t *testing.T) {
	o := newOffloading(t, 0)
	o.reviewBusy(start, aliceToBob)
	o.kernel.bytes[o.in] = 5000
	o.handler.remove(bob)
	if flows, n := o.count(); flows != 0 || n.Packets != 5 || n.Bytes != 5000 {
		t.Errorf("%d flows, %+v, want none and 5 packets of 5000 bytes", flows, n)
	}
}

// TestOneBucket has kernel and user space together forward no more than a member's rate.
func TestOneBucket(t *testing.T) {
	const rate = 1 << 21
	o := newOffloading(t, rate)
	o.reviewBusy(start, aliceToBob)
	want := [2]uint64{rate, rate / 4}
	if o.kernel.limits[uint32(alice)] != want || o.kernel.installed[o.in].Limit != uint32(alice) {
		t.Fatalf("limits = %v, want alice's %v", o.kernel.limits, want)
	}
	limit := o.handler.table.limit(alice)
	o.kernel.bytes[o.in] = rate // all that she may, in a second
	o.review(start.Add(time.Second))
	if limit.AllowN(start.Add(time.Second), 1) {
		t.Error("user space forwards for her beyond her rate")
	}
	if o.review(start.Add(2 * time.Second)); !limit.AllowN(start.Add(2*time.Second), 1000) {
		t.Error("user space forwards nothing although the kernel has not")
	}
}

func TestMostFlows(t *testing.T) {
	o := offload{most: 3, flows: map[flow]*offloaded{aliceToBob: {passage: passage{to: aliceToBob.from}}, bobToAlice: {passage: passage{id: bob}}}}
	gone := bobToAlice
	var busy []flow
	for i := range 5 {
		busy = append(busy, flowOf(office, 7, wire.RelayID(i)))
	}
	lookup := func(f flow) (passage, bool) { return passage{to: f.from}, f != gone }
	remove, install := o.review(start, busy, func(flow) uint64 { return 1 }, lookup)
	if !slices.Equal(remove, []flow{gone}) || !slices.Equal(install, busy[:2]) {
		t.Errorf("remove %v and install %v, want one and two", remove, install)
	}
}
