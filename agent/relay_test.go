package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestResolve(t *testing.T) {
	asked := 0
	r := resolver{log: slog.New(slog.DiscardHandler), lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
		asked++
		if host != "hub.example" {
			return nil, errors.New("no such host")
		}
		return []netip.Addr{addr("2001:db8::1"), addr("::ffff:203.0.113.1")}, nil
	}}
	for _, tt := range []struct {
		udp, want, err string
	}{
		{"203.0.113.7:3478", "203.0.113.7:3478", ""},
		{"[2001:db8::7]:3478 203.0.113.7:3478", "203.0.113.7:3478 [2001:db8::7]:3478", ""},
		{":3478 :3479", "203.0.113.1:3478 203.0.113.1:3479 [2001:db8::1]:3478 [2001:db8::1]:3479", ""},
		{"hub.example:3478", "203.0.113.1:3478 [2001:db8::1]:3478", ""},
		{"other.example:1 203.0.113.7:2", "203.0.113.7:2", "other.example"},
		{":0 203.0.113.7:2", "203.0.113.7:2", `":0"`},
		{"nonsense", "", `"nonsense"`},
		{"", "", ""},
	} {
		got, err := r.resolve(t.Context(), "hub.example", strings.Fields(tt.udp))
		if text := strings.Trim(fmt.Sprint(got), "[]"); text != strings.Trim(tt.want, "[]") {
			t.Errorf("%s: got %s, want %s", tt.udp, text, tt.want)
		}
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: got error %v, want %q", tt.udp, err, tt.err)
		}
	}
	asked = 0
	r.resolve(t.Context(), "hub.example", []string{":1", ":2", ":3"})
	if asked != 1 {
		t.Errorf("asked %d times for one name", asked)
	}
	many := slices.Repeat([]string{"203.0.113.7:3478"}, 100)
	if got, _ := r.resolve(t.Context(), "", many); len(got) != maxRelayAddrs {
		t.Errorf("got %d addresses, want at most %d", len(got), maxRelayAddrs)
	}
}

// Names that have no address yet are tried until they have.
func TestResolveRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		r := resolver{log: slog.New(slog.DiscardHandler), lookup: func(context.Context, string) ([]netip.Addr, error) {
			if time.Since(began) < time.Minute {
				return nil, errors.New("server failure")
			}
			return []netip.Addr{addr("203.0.113.1")}, nil
		}}
		out := make(chan []netip.AddrPort)
		run := start(t.Context(), func(ctx context.Context) error { return r.run(ctx, "hub.example", []string{":3478"}, out) })
		if got := <-out; !slices.Equal(got, []netip.AddrPort{addrPort("203.0.113.1:3478")}) {
			t.Errorf("got %v", got)
		}
		<-run.ended()
	})
}
