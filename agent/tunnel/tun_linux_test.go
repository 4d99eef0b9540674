package tunnel

import (
	"errors"
	"testing"

	"meshd/agent/tunnel/vnet"
)

func TestOffloadSwitch(t *testing.T) {
	both := vnet.Offloads{TCP: true, UDP: true}
	for _, row := range []struct {
		value   string
		want    vnet.Offloads
		forward bool
	}{{"", both, false}, {"auto", both, false}, {"on", both, true}, {"tcp", vnet.Offloads{TCP: true}, false}, {"off", vnet.Offloads{}, false}} {
		if got, forward, err := wantedOffloads(row.value); got != row.want || forward != row.forward || err != nil {
			t.Errorf("%q: %+v, %v, %v, want %+v", row.value, got, forward, err, row)
		}
	}
	a := newSide(1)
	t.Setenv(offloadEnv, "sometimes")
	_, err := New(Config{Interface: "meshtest0", PrivateKey: a.private, Transport: newTwin(a.key)})
	if e, ok := errors.AsType[*Error](err); !ok || e.Hint != "use auto, on, tcp or off" {
		t.Errorf("a switch in no known position: %v", err)
	}
}

// Without superpackets packets pass all the same.
func TestOffloadsOff(t *testing.T) {
	t.Setenv(offloadEnv, "off")
	a, b := newMixed(t)
	a.ask(t, b)
}
