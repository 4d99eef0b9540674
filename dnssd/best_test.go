package dnssd

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestPublish(t *testing.T) {
	for _, tt := range []struct{ name, candidates, endpoint, order string }{
		{"nothing", "", "", ""},
		{"reflexive before host", "host 192.168.1.5:1 reflexive 203.0.113.9:2", "203.0.113.9:2", "203.0.113.9:2 192.168.1.5:1"},
		{"mapped before reflexive", "reflexive 203.0.113.9:2 mapped 203.0.113.9:3", "203.0.113.9:3", "203.0.113.9:3 203.0.113.9:2"},
		{"IPv4 before IPv6", "reflexive [2001:db8::9]:2 reflexive 203.0.113.9:2", "203.0.113.9:2", "203.0.113.9:2 [2001:db8::9]:2"},
		{"public host", "host 192.168.1.5:1 host 203.0.113.9:1", "203.0.113.9:1", "203.0.113.9:1 192.168.1.5:1"},
		{"LAN alone", "host 192.168.1.5:1 host [fd00::1]:1", "", "192.168.1.5:1 [fd00::1]:1"},
		{"a guess alone", "guess 203.0.113.9:1", "", "203.0.113.9:1"},
		{"useless", "host 127.0.0.1:1 host [::]:1 host [fe80::1%eth0]:1 reflexive 203.0.113.9:0", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var candidates []Candidate
			for f := strings.Fields(tt.candidates); len(f) > 0; f = f[2:] {
				candidates = append(candidates, Candidate{f[0], netip.MustParseAddrPort(f[1])})
			}
			p := Publish(candidates)
			var order []string
			for _, c := range p.Candidates {
				order = append(order, c.Addr.String())
			}
			if got := strings.Join(order, " "); got != tt.order {
				t.Errorf("got %s, want %s", got, tt.order)
			}
			if got := p.Endpoint; got.IsValid() != (tt.endpoint != "") || got.IsValid() && got.String() != tt.endpoint {
				t.Errorf("got endpoint %v, want %q", got, tt.endpoint)
			}
		})
	}
	many := make([]Candidate, 40)
	for i := range many {
		many[i] = Candidate{"host", netip.MustParseAddrPort(fmt.Sprintf("192.168.1.%d:1", i+1))}
	}
	if got := len(Publish(many).Candidates); got != MaxCandidates {
		t.Errorf("got %d candidates, want %d", got, MaxCandidates)
	}
}
