package tunnel

import (
	"errors"
	"testing"

	"meshd/agent/tunnel/vnet"
)

func TestOffloadSwitch(t *testing.T) {
	for value, want := range map[string]vnet.Offloads{
		"": {TCP: true, UDP: true}, "on": {TCP: true, UDP: true}, "tcp": {TCP: true}, "off": {},
	} {
		if got, err := wantedOffloads(value); got != want || err != nil {
			t.Errorf("%q: %+v, %v, want %+v", value, got, err, want)
		}
	}
	a := newSide(1)
	t.Setenv(offloadEnv, "sometimes")
	_, err := New(Config{Interface: "meshtest0", PrivateKey: a.private, Transport: newTwin(a.key)})
	if e, ok := errors.AsType[*Error](err); !ok || e.Hint != "use on, tcp or off" {
		t.Errorf("a switch in no known position: %v", err)
	}
}

// Without superpackets packets pass all the same.
func TestOffloadsOff(t *testing.T) {
	t.Setenv(offloadEnv, "off")
	a, b := newMixed(t)
	a.ask(t, b)
}
