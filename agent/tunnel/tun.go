package tunnel

import "golang.zx2c4.com/wireguard/tun"

// watcher is a TUN device whose events are made by a goroutine of the caller's.
// Watch returns when the device is closed.
type watcher interface{ Watch() }

// steadyTUN is a TUN device whose link going down or up is nobody's business:
// wireguard-go would close and reopen its bind, and the mesh's sockets with it.
// Changes of the MTU pass.
type steadyTUN struct {
	tun.Device
	events chan tun.Event
	ended  chan struct{} // closed when run has returned
}

func newSteadyTUN(dev tun.Device) *steadyTUN {
	return &steadyTUN{Device: dev, events: make(chan tun.Event), ended: make(chan struct{})}
}

// run passes events on until the device below closes its channel. Somebody has
// to: a TUN whose events are not read can't be closed.
func (t *steadyTUN) run() {
	defer close(t.ended)
	defer close(t.events)
	for e := range t.Device.Events() {
		if e &= tun.EventMTUUpdate; e != 0 {
			t.events <- e
		}
	}
}

// Events is read by the device until it is closed.
func (t *steadyTUN) Events() <-chan tun.Event { return t.events }
