package punch

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"meshd/punch/stun"
	"meshd/punch/wire"
)

var (
	hub1  = ap("203.0.113.1:3478")
	hub2  = ap("203.0.113.1:3479")
	other = ap("203.0.113.2:3478")
	hub6  = ap("[2001:db8::1]:3478")
)

// sightings make an observer on port 7000 which servers saw at addresses.
func sightings(pairs ...netip.AddrPort) *observer {
	now := time.Unix(0, 0)
	s := &lazySocket{}
	o := newObserver(7000, []Socket{s, s}, nil, func(netip.AddrPort, []byte) {})
	var servers []netip.AddrPort
	for i := 0; i < len(pairs); i += 2 {
		servers = append(servers, pairs[i])
	}
	o.setServers(now, servers)
	for i := 0; i < len(pairs); i += 2 {
		o.seen[pairs[i]] = pairs[i+1]
	}
	o.setNets(now, []netip.Prefix{netip.MustParsePrefix("192.168.1.2/24")})
	return o
}

func TestLocal(t *testing.T) {
	one, two, same := ap("198.51.100.1:11"), ap("198.51.100.1:22"), ap("192.168.1.2:7000")
	six := ap("[2001:db8:1::2]:7000")
	tests := []struct {
		name    string
		o       *observer
		mapping wire.Behaviour
		want    string
	}{
		{"nobody saw us", sightings(), 0, "host 192.168.1.2:7000"},
		{"one server", sightings(hub1, one), 0, "host 192.168.1.2:7000, reflexive 198.51.100.1:11"},
		{"two ports agree", sightings(hub1, one, hub2, one), wire.EndpointIndependent,
			"host 192.168.1.2:7000, reflexive 198.51.100.1:11"},
		{"two ports differ", sightings(hub1, one, hub2, two), wire.AddressPortDependent,
			"host 192.168.1.2:7000, reflexive 198.51.100.1:11, reflexive 198.51.100.1:22, guess 198.51.100.1:7000"},
		{"two addresses differ", sightings(hub1, one, other, two), wire.AddressDependent,
			"host 192.168.1.2:7000, reflexive 198.51.100.1:11, reflexive 198.51.100.1:22, guess 198.51.100.1:7000"},
		{"families are not compared", sightings(hub1, one, hub6, six), 0,
			"host 192.168.1.2:7000, reflexive 198.51.100.1:11, reflexive [2001:db8:1::2]:7000"},
		{"no NAT", sightings(hub1, same, hub2, same), wire.EndpointIndependent, "host 192.168.1.2:7000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := tt.o.local()
			var got []string
			for _, c := range l.Candidates {
				got = append(got, fmt.Sprintf("%v %v", c.Kind, c.Addr))
			}
			if got := strings.Join(got, ", "); got != tt.want || l.NAT.Mapping != tt.mapping {
				t.Errorf("mapping %d, %s\nwant    %d, %s", l.NAT.Mapping, got, tt.mapping, tt.want)
			}
		})
	}
}

func TestAskingSTUN(t *testing.T) {
	var asked []string
	now := time.Unix(0, 0)
	var request []byte
	o := newObserver(7000, []Socket{&lazySocket{}, nil}, []netip.AddrPort{ap("198.51.100.1:99")}, func(to netip.AddrPort, b []byte) {
		asked = append(asked, fmt.Sprintf("%d %v", now.Sub(time.Unix(0, 0)).Milliseconds(), to.Port()))
		request = b
	})
	o.setServers(now, []netip.AddrPort{hub1, hub2, hub6})
	play := func(d time.Duration) {
		for end := now.Add(d); ; {
			o.run(now)
			o.changed(now)
			o.survey(now)
			at := o.deadline()
			if at.IsZero() || at.After(end) {
				now = end
				return
			}
			now = at
		}
	}
	play(150 * time.Millisecond)
	reply, _ := stun.Respond(request, ap("198.51.100.1:22"), hub2, netip.AddrPort{})
	o.receive(now, reply.Data, other)
	if len(o.seen) != 0 {
		t.Error("took a response from another server")
	}
	o.receive(now, reply.Data, hub2)
	o.receive(now, reply.Data, hub2)
	play(5 * time.Second)
	expect(t, "asked", strings.Join(asked, ", "), "0 3478, 0 3479, 100 3478, 100 3479, 300 3478, 1000 3478")
	if got := o.told.Candidates; len(got) != 2 || got[0] != cand(wire.Mapped, "198.51.100.1:99") || got[1] != cand(wire.Reflexive, "198.51.100.1:22") {
		t.Errorf("told %v", got)
	}
	g := o.generation
	o.setNets(now, nil)
	play(time.Second)
	if o.generation != g {
		t.Error("told the same twice")
	}
	t.Log("another observation by the relay makes the servers asked again")
	asked = nil
	o.observed(now, hub1, ap("198.51.100.1:11"), 0)
	o.observed(now, hub1, ap("198.51.100.1:33"), 0)
	play(time.Millisecond)
	expect(t, "asked", strings.Join(asked, ", "), "6150 3478, 6150 3479")
	if got := o.told.Candidates; len(got) != 2 || got[1].Addr.Port() != 33 {
		t.Errorf("told %v, want the new address alone", got)
	}
}

func TestNetworkInDoubt(t *testing.T) {
	now := time.Unix(0, 0)
	one, two := ap("198.51.100.1:11"), ap("198.51.100.7:22")
	tests := []struct {
		name   string
		answer netip.AddrPort // of the first server; zero: none
		want   int            // reflexive candidates
	}{
		{"nothing changed", one, 1},
		{"another network", two, 1},
		{"a network without UDP", netip.AddrPort{}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := sightings(hub1, one, hub2, one)
			o.changed(now.Add(time.Second))
			g := o.generation
			o.suspect(now)
			if tt.answer.IsValid() {
				o.observed(now, hub1, tt.answer, 0)
			}
			o.run(now.Add(staleFor))
			o.changed(now.Add(staleFor))
			if got := len(o.reflexive()); got != tt.want {
				t.Errorf("%d reflexive addresses, want %d", got, tt.want)
			}
			if told := o.generation != g; told != (tt.answer != one) {
				t.Errorf("told = %v", told)
			}
		})
	}
}

// A survey follows each new address, and another one when peers see what servers
// can't.
func TestSurveyIsDue(t *testing.T) {
	now := time.Unix(0, 0)
	one, two := ap("198.51.100.1:11"), ap("198.51.100.1:22")
	o := sightings(hub1, one, hub2, one)
	due := func() string {
		c, ok := o.survey(now)
		if !ok {
			return ""
		}
		return fmt.Sprintf("%d servers, own %v, ports %v", len(c.Servers), c.Own, c.Ports)
	}
	expect(t, "at first", due(), "")
	o.observed(now, hub1, ap("198.51.100.7:11"), 0)
	expect(t, "at once", due(), "")
	now = now.Add(surveyDelay)
	const all = "2 servers, own [192.168.1.2], ports false"
	expect(t, "after a new address", due(), all)
	expect(t, "once more", due(), "")
	o.observed(now, hub1, ap("198.51.100.7:11"), 0)
	now = now.Add(surveyDelay)
	expect(t, "after the same address", due(), "")

	o = sightings(hub1, one, hub2, one)
	o.surveyed(now, Discovery{V4: &Report{UDP: true, Mapping: wire.EndpointIndependent, Allocation: wire.Preserving}})
	o.viewed(now, ap("203.0.113.7:1"), two)
	expect(t, "seen otherwise by a peer", due(), "2 servers, own [192.168.1.2], ports true")
	if got := o.nat(); got != (wire.NAT{Mapping: wire.AddressDependent}) {
		t.Errorf("got %+v, want address-dependent mapping and no word of ports", got)
	}
	o.surveyed(now, Discovery{V4: &Report{UDP: true, Mapping: wire.EndpointIndependent, Allocation: wire.Random, Ports: []uint16{7}}})
	if got := o.nat(); got != (wire.NAT{Mapping: wire.AddressDependent, Allocation: wire.Random}) {
		t.Errorf("got %+v, want address-dependent mapping and random ports", got)
	}
	o.viewed(now, ap("203.0.113.7:1"), ap("198.51.100.1:33"))
	expect(t, "known already", due(), "")
}

func TestViewsOfPeers(t *testing.T) {
	const hub = "198.51.100.1:11"
	kept := ap("198.51.100.1:7000") // our own port
	tests := []struct {
		name   string
		mapped netip.AddrPort
		views  string // peer sees us as, …
		want   wire.Behaviour
		sure   bool
	}{
		{"none", ap(hub), "", wire.EndpointIndependent, false},
		{"a peer agrees", ap(hub), "203.0.113.7:1 198.51.100.1:11", wire.EndpointIndependent, true},
		{"a peer differs", ap(hub), "203.0.113.7:1 198.51.100.1:22", wire.AddressDependent, true},
		{"two ports of a peer are one address", kept, "203.0.113.7:1 198.51.100.1:22 203.0.113.7:2 198.51.100.1:33", wire.EndpointIndependent, false},
		{"an exception, maybe", kept, "203.0.113.7:1 198.51.100.1:22", wire.EndpointIndependent, false},
		{"an exception", kept, "203.0.113.7:1 198.51.100.1:22 203.0.113.8:1 198.51.100.1:7000", wire.EndpointIndependent, true},
		{"no exception", kept, "203.0.113.7:1 198.51.100.1:22 203.0.113.8:1 198.51.100.1:33", wire.AddressDependent, true},
		{"a peer in the LAN", ap(hub), "192.168.1.9:1 192.168.1.2:7000", wire.EndpointIndependent, false},
		{"a peer in another LAN of ours", ap(hub), "10.0.0.9:1 198.51.100.1:22", wire.EndpointIndependent, false},
		{"a peer by another way out", ap(hub), "203.0.113.7:1 198.51.100.99:22", wire.EndpointIndependent, false},
	}
	for _, tt := range tests {
		o := sightings(hub1, tt.mapped, hub2, tt.mapped)
		views := strings.Fields(tt.views)
		for i := 0; i < len(views); i += 2 {
			o.viewed(time.Unix(0, 0), ap(views[i]), ap(views[i+1]))
		}
		if got, sure := mappingOf(o.sightings()); got != tt.want || sure != tt.sure {
			t.Errorf("%s: got %d, %v, want %d, %v", tt.name, got, sure, tt.want, tt.sure)
		}
	}
}
