package punch

import (
	"net/netip"
	"strings"
	"testing"

	"meshd/punch/wire"
)

func cand(kind wire.CandidateKind, addr string) wire.Candidate {
	return wire.Candidate{Kind: kind, Addr: ap(addr)}
}

func TestTargets(t *testing.T) {
	self := &selfChanged{
		candidates: []wire.Candidate{cand(wire.Host, "192.168.1.2:1"), cand(wire.Reflexive, "198.51.100.1:1")},
		nets:       []netip.Prefix{netip.MustParsePrefix("192.168.1.2/24"), netip.MustParsePrefix("2001:db8:1::2/64")},
		v4:         true, v6: true,
	}
	tests := []struct {
		name string
		peer []wire.Candidate
		want string // addresses in order; ~ for those opened towards first
	}{
		{"none", nil, ""},
		{"likeliest first", []wire.Candidate{
			cand(wire.Guess, "203.0.113.9:1"), cand(wire.Reflexive, "203.0.113.9:9"), cand(wire.Host, "10.0.0.9:9"),
			cand(wire.Mapped, "203.0.113.9:7"), cand(wire.Host, "192.168.1.9:9"), cand(wire.Observed, "203.0.113.9:8"),
		}, "192.168.1.9:9 203.0.113.9:7 ~203.0.113.9:9 ~203.0.113.9:8 ~203.0.113.9:1 10.0.0.9:9"},
		{"public host addresses are not shy", []wire.Candidate{cand(wire.Host, "203.0.113.9:9"), cand(wire.Host, "[2001:db8:9::9]:9")},
			"203.0.113.9:9 [2001:db8:9::9]:9"},
		{"behind our own NAT, private ones come early", []wire.Candidate{
			cand(wire.Reflexive, "198.51.100.1:9"), cand(wire.Host, "10.0.0.9:9"),
		}, "10.0.0.9:9 ~198.51.100.1:9"},
		{"unusable", []wire.Candidate{
			cand(wire.Host, "127.0.0.1:9"), cand(wire.Host, "0.0.0.0:9"), cand(wire.Host, "224.0.0.1:9"), cand(wire.Host, "255.255.255.255:9"),
			cand(wire.Host, "10.0.0.9:0"), cand(wire.Host, "[fe80::1]:9"), cand(wire.Host, "[::1]:9"), {Kind: wire.Host},
		}, ""},
		{"our own address at the peer's", []wire.Candidate{cand(wire.Host, "192.168.1.2:1"), cand(wire.Host, "192.168.1.2:2")}, "192.168.1.2:2"},
		{"double, and mapped into IPv6", []wire.Candidate{
			cand(wire.Host, "10.0.0.9:9"), cand(wire.Observed, "10.0.0.9:9"), cand(wire.Host, "[::ffff:10.0.0.9]:9"),
		}, "10.0.0.9:9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, x := range targets(self, tt.peer, wire.UnknownBehaviour) {
				s := x.addr.String()
				if x.shy {
					s = "~" + s
				}
				got = append(got, s)
			}
			if got := strings.Join(got, " "); got != tt.want {
				t.Errorf("targets = %s\nwant      %s", got, tt.want)
			}
		})
	}
}

func TestTargetsAreFew(t *testing.T) {
	self := &selfChanged{v4: true}
	var peer []wire.Candidate
	for i := range 200 {
		peer = append(peer, wire.Candidate{Kind: wire.Host, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 1)})
	}
	peer = append(peer, cand(wire.Host, "[2001:db8::1]:1"))
	got := targets(self, peer, wire.UnknownBehaviour)
	if len(got) != maxTargets {
		t.Errorf("%d targets, want %d", len(got), maxTargets)
	}
	for _, x := range got {
		if x.addr.Addr().Is6() {
			t.Errorf("target %v without an IPv6 socket", x.addr)
		}
	}
}
