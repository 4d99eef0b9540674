package tunnel

import (
	"testing"

	"go.uber.org/goleak"
	"golang.zx2c4.com/wireguard/tun"
)

// eventTUN is a TUN that is nothing but events.
type eventTUN struct {
	tun.Device
	events chan tun.Event
}

func (t eventTUN) Events() <-chan tun.Event { return t.events }

func TestSteadyTUN(t *testing.T) {
	defer goleak.VerifyNone(t)
	dev := eventTUN{events: make(chan tun.Event)}
	steady := newSteadyTUN(dev)
	go steady.run()
	for _, e := range []tun.Event{tun.EventUp, tun.EventDown, tun.EventDown | tun.EventMTUUpdate, tun.EventUp} {
		dev.events <- e
		if e&tun.EventMTUUpdate == 0 {
			continue
		}
		if got := <-steady.Events(); got != tun.EventMTUUpdate {
			t.Errorf("event %b passed as %b", e, got)
		}
	}
	close(dev.events)
	if e, open := <-steady.Events(); open {
		t.Errorf("event %b after the end", e)
	}
	<-steady.ended
}
