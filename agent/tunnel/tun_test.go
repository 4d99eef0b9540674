package tunnel

import (
	"errors"
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

// mtuTUN is a TUN that is nothing but its MTU; below 0 it is gone.
type mtuTUN struct {
	tun.Device
	mtu int
}

func (t *mtuTUN) MTU() (int, error) {
	if t.mtu < 0 {
		return 0, errors.New("file already closed")
	}
	return t.mtu, nil
}

func TestMTUOfATUNThatIsGone(t *testing.T) {
	dev := &mtuTUN{mtu: -1}
	steady := newSteadyTUN(dev)
	if _, err := steady.MTU(); err == nil {
		t.Error("an MTU that nobody ever knew")
	}
	for _, mtu := range []int{1400, 1300} {
		dev.mtu = mtu
		if got, err := steady.MTU(); got != mtu || err != nil {
			t.Errorf("got %d, %v, want %d", got, err, mtu)
		}
	}
	dev.mtu = -1
	if got, err := steady.MTU(); got != 1300 || err != nil {
		t.Errorf("gone: got %d, %v, want 1300", got, err)
	}
}
