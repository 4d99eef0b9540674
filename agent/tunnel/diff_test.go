package tunnel

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func prefixes(s ...string) (p []netip.Prefix) {
	for _, s := range s {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

// abbreviate makes keys readable: {1}'s hex becomes "one".
func abbreviate(s string) string {
	zeros := strings.Repeat("0", 62)
	return strings.NewReplacer("01"+zeros, "one", "02"+zeros, "two", "05"+zeros, "secret", "00"+zeros, "none", "\n", " ").Replace(s)
}

func TestWriteChanges(t *testing.T) {
	one, two := Key{1}, Key{2}
	for _, test := range []struct {
		name       string
		have, want []Peer
		changes    string
	}{
		{"nothing at all", nil, nil, ""},
		{"the same", []Peer{{Key: one, AllowedIPs: prefixes("10.0.0.1/32")}}, []Peer{{Key: one, AllowedIPs: prefixes("10.0.0.1/32")}}, ""},
		{"the same in another order",
			[]Peer{{Key: one, AllowedIPs: prefixes("10.0.0.1/32", "fd00::1/128")}},
			[]Peer{{Key: one, AllowedIPs: prefixes("fd00::1/128", "10.0.0.1/32")}}, ""},
		{"a new peer", nil, []Peer{{Key: one, AllowedIPs: prefixes("10.0.0.1/32"), Keepalive: 25 * time.Second, PresharedKey: [32]byte{5}}},
			"public_key=one endpoint=one preshared_key=secret persistent_keepalive_interval=25 allowed_ip=10.0.0.1/32 "},
		{"a peer less", []Peer{{Key: one}, {Key: two}}, []Peer{{Key: two}}, "public_key=one remove=true "},
		{"a prefix more", []Peer{{Key: one}}, []Peer{{Key: one, AllowedIPs: prefixes("10.0.0.1/32")}},
			"public_key=one persistent_keepalive_interval=0 allowed_ip=10.0.0.1/32 "},
		{"a prefix less", []Peer{{Key: one, AllowedIPs: prefixes("10.0.0.1/32")}}, []Peer{{Key: one}},
			"public_key=one update_only=true allowed_ip=-10.0.0.1/32 "},
		{"a keepalive", []Peer{{Key: one}}, []Peer{{Key: one, Keepalive: time.Second}}, "public_key=one persistent_keepalive_interval=1 "},
		{"no preshared key any more", []Peer{{Key: one, PresharedKey: [32]byte{5}}}, []Peer{{Key: one}},
			"public_key=one preshared_key=none persistent_keepalive_interval=0 "},
		{"a prefix that moves is never without a peer",
			[]Peer{{Key: one, AllowedIPs: prefixes("10.1.0.0/16")}, {Key: two}},
			[]Peer{{Key: one}, {Key: two, AllowedIPs: prefixes("10.1.0.0/16")}},
			"public_key=two persistent_keepalive_interval=0 allowed_ip=10.1.0.0/16 public_key=one update_only=true allowed_ip=-10.1.0.0/16 "},
	} {
		have := make(map[Key]*state)
		for _, p := range test.have {
			have[p.Key] = &state{peer: p}
		}
		var got strings.Builder
		writeChanges(&got, have, test.want)
		if got := abbreviate(got.String()); got != test.changes {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.changes)
		}
	}
}

func TestNormal(t *testing.T) {
	got, err := normal([]Peer{{Key: Key{1}, AllowedIPs: prefixes("10.1.2.3/16", "10.1.0.0/16"), Keepalive: 1500 * time.Millisecond}})
	if err != nil || len(got[0].AllowedIPs) != 1 || got[0].AllowedIPs[0] != netip.MustParsePrefix("10.1.0.0/16") || got[0].Keepalive != 2*time.Second {
		t.Errorf("got %+v, %v", got, err)
	}
	for name, bad := range map[string][]Peer{
		"no key":                 {{}},
		"one peer twice":         {{Key: Key{1}}, {Key: Key{1}}},
		"one prefix for two":     {{Key: Key{1}, AllowedIPs: prefixes("10.1.0.0/16")}, {Key: Key{2}, AllowedIPs: prefixes("10.1.2.0/16")}},
		"no prefix":              {{Key: Key{1}, AllowedIPs: []netip.Prefix{{}}}},
		"keepalive below zero":   {{Key: Key{1}, Keepalive: -1}},
		"keepalive above a word": {{Key: Key{1}, Keepalive: 65536 * time.Second}},
	} {
		if got, err := normal(bad); err == nil {
			t.Errorf("%s: accepted as %+v", name, got)
		}
	}
}
