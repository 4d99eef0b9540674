package agent

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"meshd/agent/localapi"
	"meshd/agent/netcfg"
	"meshd/punch/portmap"
	"meshd/punch/wire"
)

// fakeMapper gets the mappings that a test gives it. Like one whose gateway hangs
// it does not end before everything else is taken down.
type fakeMapper struct {
	config    portmap.Config
	refreshes atomic.Int32
	others    <-chan struct{} // closed when the interface is gone
	ended     chan struct{}
}

func (f *fakeMapper) Refresh() { f.refreshes.Add(1) }

func (f *fakeMapper) Run(ctx context.Context) error {
	defer close(f.ended)
	<-ctx.Done()
	<-f.others
	return nil
}

func (m *machine) newMapper(c portmap.Config) Mapper {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := &fakeMapper{config: c, others: m.tunnels[len(m.tunnels)-1].Wait(), ended: make(chan struct{})}
	m.mappers = append(m.mappers, f)
	return f
}

// mapper is the last one made; nil: there was none.
func (m *machine) mapper() *fakeMapper {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.mappers) == 0 {
		return nil
	}
	return m.mappers[len(m.mappers)-1]
}

func (p *fakePuncher) mappedTo() (addrs []netip.AddrPort) {
	p.set(func() { addrs = p.mapped })
	return addrs
}

func TestPortIsMapped(t *testing.T) {
	m := newMachine(t, "nas")
	d := m.start(newHub(t).Join().String())
	d.awaitState(localapi.Running)
	f := m.mapper()
	if f.config.Port == 0 || f.config.Port != m.puncher().config.Port {
		t.Errorf("maps port %d, want punch's, %d", f.config.Port, m.puncher().config.Port)
	}

	t.Log("what is behind another NAT is shown, and peers are not told")
	public, shared := addrPort("62.20.0.1:41641"), addrPort("100.64.3.4:41641")
	f.config.Changed([]portmap.Mapping{{External: public, Protocol: portmap.UPnP, Trusted: true}, {External: shared, Protocol: portmap.PCP}})
	if got := m.puncher().mappedTo(); !slices.Equal(got, []netip.AddrPort{public}) {
		t.Errorf("punch was told %v, want %v", got, public)
	}
	want := localapi.Endpoint{Addr: shared, Kind: "mapped", Protocol: "PCP", Untrusted: true}
	if got := d.Status().Self.Endpoints; !slices.Contains(got, want) {
		t.Errorf("status shows %+v, want %+v", got, want)
	}

	t.Log("another network: another gateway")
	m.fire(netcfg.Event{})
	await(t, "word to the mapper", func() bool { return f.refreshes.Load() == 1 })

	t.Log("the end takes no longer for a mapper that does")
	d.stop()
	<-f.ended
}

func TestPortMappingIsASettingThatLasts(t *testing.T) {
	m := newMachine(t, "nas")
	m.config.PortMapping = "off"
	d := m.start(newHub(t).Join().String())
	d.awaitState(localapi.Running)
	d.stop()
	m.config.PortMapping = ""
	d = m.start("")
	d.awaitState(localapi.Running)
	if m.mapper() != nil {
		t.Error("the port was mapped although that was off")
	}
	d.stop()

	m.config.PortMapping = "auto"
	d = m.start("")
	d.awaitState(localapi.Running)
	if m.mapper() == nil {
		t.Error("the port was not mapped although that was on again")
	}
}

func TestAdvertisedEndpointsLast(t *testing.T) {
	m := newMachine(t, "nas")
	forwarded := []netip.AddrPort{addrPort("62.20.0.1:1000")}
	m.config.Advertise = forwarded
	d := m.start(newHub(t).Join().String())
	d.awaitState(localapi.Running)
	d.stop()

	m.config.Advertise = nil
	d = m.start("")
	d.awaitState(localapi.Running)
	if got := m.puncher().config.Advertise; !slices.Equal(got, forwarded) {
		t.Errorf("after a restart: got %v, want %v", got, forwarded)
	}
	d.stop()

	m.config.Advertise = []netip.AddrPort{}
	d = m.start("")
	d.awaitState(localapi.Running)
	if got := m.puncher().config.Advertise; len(got) != 0 {
		t.Errorf("after they were withdrawn: got %v", got)
	}
}

func TestMappingGateways(t *testing.T) {
	gateway := func(a, local string) netcfg.Gateway { return netcfg.Gateway{Addr: addr(a), Local: addr(local)} }
	four, six := gateway("192.168.1.1", "192.168.1.7"), gateway("fe80::1%eth0", "2a00:1450:1::7")
	for _, tt := range []struct {
		name      string
		addresses string
		gateways  []netcfg.Gateway
		want      int
	}{
		{"home", "192.168.1.7/24", []netcfg.Gateway{four}, 1},
		{"home with IPv6", "192.168.1.7/24 2a00:1450:1::7/64", []netcfg.Gateway{four, six}, 2},
		{"IPv6 alone", "2a00:1450:1::7/64", []netcfg.Gateway{six}, 1},
		{"behind carrier-grade NAT alone", "100.64.0.7/10", []netcfg.Gateway{gateway("100.64.0.1", "100.64.0.7")}, 1},
		{"a public address", "62.20.0.7/24", []netcfg.Gateway{gateway("62.20.0.1", "62.20.0.7")}, 0},
		{"a public address, and IPv6", "62.20.0.7/24 2a00:1450:1::7/64", []netcfg.Gateway{six}, 0},
		{"no network", "", nil, 0},
	} {
		var host netcfg.Fake
		var own []netip.Prefix
		for p := range strings.FieldsSeq(tt.addresses) {
			own = append(own, prefix(p))
		}
		host.SetAddresses(own...)
		host.SetGateways(tt.gateways...)
		got, err := mappingGateways(&host)
		if err != nil || len(got) != tt.want {
			t.Errorf("%s: got %v, %v, want %d", tt.name, got, err, tt.want)
		}
	}
	var broken netcfg.Fake
	broken.Fail(errors.New("no netlink"))
	if _, err := mappingGateways(&broken); err == nil {
		t.Error("an error was lost")
	}
}

func TestEndpoints(t *testing.T) {
	by, told := addrPort("62.20.0.1:41641"), addrPort("62.20.0.1:1000")
	got := endpoints([]wire.Candidate{{Kind: wire.Mapped, Addr: told}, {Kind: wire.Mapped, Addr: by}, {Kind: wire.Host, Addr: endpoint.Addr}},
		[]portmap.Mapping{{External: by, Protocol: portmap.NATPMP, Trusted: true}})
	want := []localapi.Endpoint{{Addr: told, Kind: "mapped"}, {Addr: by, Kind: "mapped", Protocol: "NAT-PMP"}, {Addr: endpoint.Addr, Kind: "host"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseEndpoint(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"62.20.0.1:41641", "62.20.0.1:41641"},
		{"[2001:db8::9]:41641", "[2001:db8::9]:41641"},
		{"[::ffff:62.20.0.1]:1", "62.20.0.1:1"},
		{"10.0.0.1:1", "10.0.0.1:1"}, // a network with routes of its own
		{"", "error: want an IP address and a port"},
		{"62.20.0.1", "error: want an IP address and a port"},
		{"62.20.0.1:70000", "error: want an IP address and a port"},
		{"2001:db8::9:41641", "error: want an IP address and a port"},
		{"nas.example:41641", "error: not a name"},
		{"62.20.0.1:0", "error: port 0"},
		{"0.0.0.0:1", "error: nobody else"},
		{"127.0.0.1:1", "error: nobody else"},
		{"[fe80::1%eth0]:1", "error: nobody else"},
		{"224.0.0.1:1", "error: nobody else"},
		{"255.255.255.255:1", "error: nobody else"},
	} {
		got, err := ParseEndpoint(tt.text)
		part, bad := strings.CutPrefix(tt.want, "error: ")
		switch {
		case bad && (err == nil || !strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), `"`+tt.text+`"`)):
			t.Errorf("%q: got %v, %v, want an error that names it: %q", tt.text, got, err, part)
		case !bad && (err != nil || got.String() != tt.want):
			t.Errorf("%q: got %v, %v, want %s", tt.text, got, err, tt.want)
		}
	}
}

func TestPingOfThisMachine(t *testing.T) {
	d := newMachine(t, "nas").start(newHub(t).Join().String())
	d.awaitState(localapi.Running)
	for _, who := range []string{"NAS", "100.96.0.1"} {
		_, err := d.Ping(t.Context(), who)
		if err == nil || err.Error() != who+" is this machine" || localapi.HintOf(err) == "" {
			t.Errorf("got %v, want word that %s is this machine", err, who)
		}
	}
	if _, err := d.Ping(t.Context(), "foo"); err == nil || err.Error() != `there is no peer "foo"` {
		t.Errorf("got %v", err)
	}
}
