package fastpath

import (
	"sync"
	"testing"
	"unsafe"
)

// queues are the channels that e's peer has.
func (e *end) queues() (outboundQueue, inboundQueue) {
	at := unsafe.Pointer(e.peer())
	out := *(*unsafe.Pointer)(unsafe.Add(at, e.from.outbound))
	in := *(*unsafe.Pointer)(unsafe.Add(at, e.from.inbound))
	return *(*outboundQueue)(unsafe.Add(out, e.from.outboundChan)), *(*inboundQueue)(unsafe.Add(in, e.from.inboundChan))
}

// A peer has short queues from the start and for life: what runs is not touched.
func TestSlim(t *testing.T) {
	a, b := newPair(t, true, false)
	out, in := a.queues()
	if cap(out) != slimQueue || cap(in) != slimQueue {
		t.Errorf("queues of %d and %d, want %d", cap(out), cap(in), slimQueue)
	}
	a.path.Slim(a.peer())
	if o, i := a.queues(); o != out || i != in {
		t.Error("a peer that runs has other queues now")
	}
	a.pass(packet4(a, b, 1))
	b.pass(packet4(b, a, 1))
	if out, _ := b.queues(); cap(out) == slimQueue {
		t.Error("so has a device without a fast path")
	}
}

// Peers come and go while packets for them and from them do.
func TestPeersComeAndGo(t *testing.T) {
	a, b := newPair(t, true, true)
	a.pass(packet4(a, b, 1))
	enough := make(chan struct{})
	var traffic sync.WaitGroup
	for _, e := range []*end{a, b} {
		traffic.Go(func() {
			for {
				select {
				case e.out <- packet4(e, e.far, 1000):
				case <-e.in:
				case <-enough:
					return
				}
			}
		})
	}
	for range 100 {
		a.set("public_key=%x\nremove=true\n", b.key)
		a.set("%s", describe(b))
	}
	close(enough)
	traffic.Wait()
	if out, _ := a.queues(); cap(out) != slimQueue {
		t.Errorf("the last of them has a queue of %d", cap(out))
	}
	forgetHandshakes(t, a)
	a.write(packet4(a, b, 7))
	for len(b.read()) != header4+7 { // what was on the way
	}
}
