package nattest_test

import (
	"net/netip"
	"testing"
	"time"

	"meshd/punch/nattest"
)

func TestTranslator(t *testing.T) {
	var (
		public = netip.MustParseAddr("198.51.100.1")
		inside = netip.MustParseAddrPort("192.168.1.2:41641")
		asked  = netip.MustParseAddrPort("203.0.113.1:3478")
		other  = netip.MustParseAddrPort("203.0.113.1:3479")
		now    = time.Unix(0, 0)
	)
	n := nattest.NewTranslator(nattest.Linux, 1, public)
	mapped, reason := n.Out(now, inside, asked)
	if want := netip.AddrPortFrom(public, 41641); mapped != want || reason != "" {
		t.Fatalf("out: got %v %q, want %v", mapped, reason, want)
	}
	if got, reason := n.In(now, asked, mapped); got != inside || reason != "" {
		t.Errorf("in from who was asked: got %v %q, want %v", got, reason, inside)
	}
	if _, reason := n.In(now, other, mapped); reason != "filtered" {
		t.Errorf("in from another port: got reason %q, want filtered", reason)
	}
	if got, ok := n.Inside(now, mapped); !ok || got != inside {
		t.Errorf("inside: got %v %v, want %v", got, ok, inside)
	}
	if held, peak := n.Flows(now); held != 1 || peak != 1 {
		t.Errorf("flows: got %d held, %d at most, want 1 and 1", held, peak)
	}
	later := now.Add(3 * time.Minute)
	if _, reason := n.In(later, asked, mapped); reason != "filtered" {
		t.Errorf("in after the flow's life: got reason %q, want filtered", reason)
	}
	n.Out(later, inside, asked)
	n.Reboot()
	if _, reason := n.In(later, asked, mapped); reason != "filtered" {
		t.Errorf("in after a reboot: got reason %q, want filtered", reason)
	}
	if !n.Owns(public) || n.Owns(asked.Addr()) || n.Hairpins() {
		t.Errorf("a translator without hairpin must own %v alone", public)
	}
	if _, reason := nattest.NewTranslator(nattest.Blocked, 1, public).Out(now, inside, asked); reason != "blocked" {
		t.Errorf("blocked: got reason %q", reason)
	}
}
