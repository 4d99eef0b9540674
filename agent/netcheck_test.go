package agent

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"meshd/agent/localapi"
	"meshd/agent/netcfg"
	"meshd/punch"
	"meshd/punch/portmap"
	"meshd/punch/relay"
	"meshd/punch/wire"
)

// nobody is a directory without members.
type nobody struct{}

func (nobody) Key(wire.RelayID) (wire.RelayKey, bool) { return wire.RelayKey{}, false }
func (nobody) May(_, _ wire.RelayID) bool             { return false }

// startRelay runs the hub's UDP side on these addresses, with two ports each.
func startRelay(t *testing.T, addrs ...string) []netip.AddrPort {
	t.Helper()
	first, err := relay.NewServer(relay.ServerConfig{
		UDP: []netip.AddrPort{addrPort(addrs[0] + ":0"), addrPort(addrs[0] + ":0")}, Directory: nobody{},
	})
	if err != nil {
		t.Fatal(err)
	}
	listen := first.Addrs()
	server := first
	if len(addrs) > 1 { // the same ports on the others
		first.Close()
		for _, a := range addrs[1:] {
			for _, b := range first.Addrs()[:2] {
				listen = append(listen, netip.AddrPortFrom(netip.MustParseAddr(a), b.Port()))
			}
		}
		if server, err = relay.NewServer(relay.ServerConfig{UDP: listen, Directory: nobody{}}); err != nil {
			t.Fatal(err)
		}
	}
	run := start(t.Context(), server.Run)
	t.Cleanup(run.stop)
	return listen
}

// On loopback there is no NAT, and no filter but the one that the host may have.
func TestNetcheckOfAHostWithoutNAT(t *testing.T) {
	for _, tt := range []struct {
		addrs     []string
		filtering string
		class     string
	}{
		{[]string{"127.0.0.1"}, "address-dependent", "open internet or symmetric firewall"},
		{[]string{"127.0.0.1", "127.0.0.2"}, "endpoint-independent", "open internet"},
	} {
		servers := startRelay(t, tt.addrs...)
		var names []string
		for _, s := range servers {
			names = append(names, s.String())
		}
		host := &netcfg.Fake{}
		host.SetAddresses(prefix("127.0.0.1/8"))
		n, err := Netcheck(t.Context(), NetcheckConfig{Servers: names, Host: host})
		if err != nil {
			t.Fatal(err)
		}
		b := n.IPv4.Behaviour
		if !n.UDP || !n.IPv4.UDP || n.IPv4.NAT || n.IPv4.Public.Addr() != netip.MustParseAddr("127.0.0.1") || n.IPv6.Asked {
			t.Errorf("got %+v", n)
		}
		if b.Mapping != "endpoint-independent" || b.Filtering != tt.filtering || b.Class != tt.class || !strings.HasPrefix(b.Words, "no NAT") {
			t.Errorf("%d addresses: got %+v, want %+v", len(tt.addrs), b, tt)
		}
		if len(n.Servers) != len(servers) || !n.Servers[0].Answered || n.Servers[0].RTT <= 0 || n.PortMapping == nil || n.Hints == nil {
			t.Errorf("got %+v", n)
		}
	}
}

func TestNetcheckNeedsAServer(t *testing.T) {
	lookup := func(_ context.Context, host string) ([]netip.Addr, error) { return nil, errors.New("no such host") }
	for _, servers := range [][]string{nil, {"stun.example.net"}, {"192.0.2.1:99999"}} {
		_, err := Netcheck(t.Context(), NetcheckConfig{Servers: servers, Host: &netcfg.Fake{}, Lookup: lookup})
		if err == nil || localapi.HintOf(err) == "" {
			t.Errorf("%v: got %v, want an error with a hint", servers, err)
		}
	}
}

func TestHints(t *testing.T) {
	seen := &punch.Report{UDP: true, NAT: true, Mapped: addrPort("203.0.113.7:7")}
	block := &punch.Report{Allocation: wire.Random, Low: 2048, High: 3071}
	mapped := func(addr string, trusted bool) []portmap.Mapping {
		return []portmap.Mapping{{External: addrPort(addr), Trusted: trusted}}
	}
	for _, tt := range []struct {
		name   string
		r      *punch.Report
		own    string
		mapped []portmap.Mapping
		want   string // a part; "": no hint
	}{
		{"none", seen, "192.168.1.2", nil, ""},
		{"mapped at the address that servers see", seen, "192.168.1.2", mapped("203.0.113.7:9", true), ""},
		{"a provider's address here", seen, "100.70.1.2", nil, "this machine has the address 100.70.1.2"},
		{"a provider's address at the gateway", seen, "192.168.1.2", mapped("100.70.1.2:9", false), "carrier-grade"},
		{"a private address at the gateway", seen, "192.168.1.2", mapped("10.0.0.2:9", false), "private: there is another NAT"},
		{"another public address", seen, "192.168.1.2", mapped("198.51.100.1:9", true), "servers see 203.0.113.7"},
		{"a block of ports", block, "192.168.1.2", nil, "a block of about 1024"},
	} {
		got := hints(tt.r, []netip.Addr{netip.MustParseAddr(tt.own)}, tt.mapped)
		if (len(got) == 0) != (tt.want == "") || len(got) > 0 && !strings.Contains(got[0], tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
