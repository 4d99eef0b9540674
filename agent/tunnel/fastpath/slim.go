package fastpath

import (
	"fmt"
	"reflect"
	"sync/atomic"
	"unsafe"

	"golang.zx2c4.com/wireguard/device"
)

// slimQueue is how many batches a peer's queues hold. They only carry what waited
// for a session, and who sends them waits when they are full: the peer's own
// goroutines empty them without asking anybody. It is more than there are
// goroutines that may send to a peer which has just been stopped, and then nobody
// empties them.
const slimQueue = 32

// The queues of a peer, which the device makes 1024 long: 19 KB a peer, whether it
// ever talks or not. It may be more than all the rest that is held for a peer.
type (
	outboundQueue = chan *device.QueueOutboundElementsContainer
	inboundQueue  = chan *device.QueueInboundElementsContainer
)

// Slim gives a peer short queues: with a fast path next to nothing takes them. It
// is for a peer that was just made and does not run yet; one that runs is left as
// it is.
func (p *Path) Slim(peer *device.Peer) {
	at := unsafe.Pointer(peer)
	if (*atomic.Bool)(unsafe.Add(at, p.layout.running)).Load() {
		return
	}
	// The device looks at the queues of a peer that runs only, so nobody does yet.
	out := *(*unsafe.Pointer)(unsafe.Add(at, p.layout.outbound))
	*(*outboundQueue)(unsafe.Add(out, p.layout.outboundChan)) = make(outboundQueue, slimQueue)
	in := *(*unsafe.Pointer)(unsafe.Add(at, p.layout.inbound))
	*(*inboundQueue)(unsafe.Add(in, p.layout.inboundChan)) = make(inboundQueue, slimQueue)
}

// readQueues finds the queues of a peer. Their types have names that only the
// device can say, so what they hold is compared.
func (l *layout) readQueues() (err error) {
	peer := reflect.TypeFor[device.Peer]()
	if l.running, err = offset(peer, "isRunning", reflect.TypeFor[atomic.Bool]()); err != nil {
		return err
	}
	if l.outbound, l.outboundChan, err = offsetIn(peer, "outbound", reflect.TypeFor[outboundQueue]()); err != nil {
		return err
	}
	l.inbound, l.inboundChan, err = offsetIn(peer, "inbound", reflect.TypeFor[inboundQueue]())
	return err
}

// offsetIn finds a queue, a pointer in peer, and the channel in what it points at.
func offsetIn(peer reflect.Type, name string, want reflect.Type) (queue, channel uintptr, err error) {
	queues, _ := peer.FieldByName("queue")
	if queues.Type == nil || queues.Type.Kind() != reflect.Struct {
		return 0, 0, fmt.Errorf("%v has no struct queue", peer)
	}
	f, _ := queues.Type.FieldByName(name)
	if f.Type == nil || f.Type.Kind() != reflect.Pointer {
		return 0, 0, fmt.Errorf("the queues of %v have no pointer %s", peer, name)
	}
	channel, err = offset(f.Type.Elem(), "c", want)
	return queues.Offset + f.Offset, channel, err
}
