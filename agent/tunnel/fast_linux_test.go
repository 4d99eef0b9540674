package tunnel

import (
	"errors"
	"testing"

	"meshd/agent/tunnel/fastpath"
)

func TestFastSwitch(t *testing.T) {
	for _, test := range []struct {
		value  string
		fast   bool
		health string
	}{
		{"", true, ""}, {"on", true, ""},
		{"off", false, "packets take the slow path: switched off by MESHD_FASTPATH"},
	} {
		t.Run("is "+test.value, func(t *testing.T) {
			t.Setenv(fastEnv, test.value)
			a, b := newMixed(t)
			a.ask(t, b)
			if _, fast := a.bind.transport.(*fastpath.Path); fast != test.fast || a.Health() != test.health {
				t.Errorf("fast %v, health %q, want %v, %q", fast, a.Health(), test.fast, test.health)
			}
			// A TUN that is not the kernel's has no fast path, and nobody misses it.
			if _, fast := b.bind.transport.(*fastpath.Path); fast {
				t.Error("a fast path on a TUN without frames")
			}
		})
	}
	t.Setenv(fastEnv, "maybe")
	a := newSide(1)
	_, err := New(Config{Interface: "meshtest0", PrivateKey: a.private, Transport: newTwin(a.key)})
	if e, ok := errors.AsType[*Error](err); !ok || e.Message != `MESHD_FASTPATH is "maybe"` || e.Hint != "use on or off" {
		t.Errorf("got %v", err)
	}
}

// Statistics are what the device would say of its peers.
func TestFastStats(t *testing.T) {
	a, b := newMixed(t)
	idle := newSide(3)
	a.setPeers(t, b.asPeer(), idle.asPeer())
	a.ask(t, b)
	await(t, "the same statistics from both", func() bool {
		states, err := a.states() // between two questions packets may pass
		if err != nil {
			t.Fatal(err)
		}
		stats, err := a.Stats()
		if err != nil {
			t.Fatal(err)
		}
		for k, s := range states {
			if got := stats[k]; got.RxBytes != s.stats.RxBytes || got.TxBytes != s.stats.TxBytes || !got.LastHandshake.Equal(s.stats.LastHandshake) {
				return false
			}
		}
		return len(stats) == 2 && stats[idle.key].LastHandshake.IsZero() && !stats[b.key].LastHandshake.IsZero()
	})
}

// A transport that ended first does not keep the tunnel from ending.
func TestFastPathWithoutTransport(t *testing.T) {
	a := newSide(1)
	a.wire = newTwin(a.key)
	a.open(t, "meshtest0")
	if err := a.bind.transport.Close(); err != nil {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}
