package agent

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"meshd/agent/localapi"
	"meshd/agent/netcfg"
	"meshd/punch"
)

// values are the settings of a daemon.
func (d *daemon) values() map[string]string {
	d.t.Helper()
	list, err := d.Settings(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	all := make(map[string]string)
	for _, s := range list {
		all[s.Key] = s.Value
	}
	return all
}

// linkChanges is how often it was told of a change of the network.
func (p *fakePuncher) linkChanges() (n int) {
	p.set(func() { n = p.links })
	return n
}

// others are values that are not the defaults.
var others = map[string]string{
	"dns": "off", "mdns": "off", "port-mapping": "off", "advertise-endpoint": "203.0.113.9:41641,[2001:db8::9]:7",
	"relay": "on", "use-relays": "off", "search-rate": "0", "metered": "on", "fwmark": "0xca6c", "inbound": "icmp,tcp/22",
}

func TestSettingsAreHeededAndLast(t *testing.T) {
	m := newMachine(t, "nas")
	d := m.start(newHub(t).Join().String())
	d.awaitState(localapi.Running)
	defaults := d.values()
	if c := m.puncher().config; c.BirthdayRate != 100 || c.Metered() {
		t.Errorf("at first: rate %d, metered %v", c.BirthdayRate, c.Metered())
	}
	if err := d.Set(t.Context(), others); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		if got := d.values(); !maps.Equal(got, others) {
			t.Errorf("%s: got %v", when, got)
		}
		c := m.puncher().config
		if c.BirthdayRate >= 0 || !c.Metered() || c.Offer != punch.OfferOn || !c.HubOnly || len(c.Advertise) != 2 || c.Mark != 0xca6c {
			t.Errorf("%s: punch has rate %d, metered %v, offer %v, hub only %v, %v, mark %#x", when, c.BirthdayRate, c.Metered(), c.Offer, c.HubOnly, c.Advertise, c.Mark)
		}
		if s := d.Status(); s.DNS.Mode != "off" {
			t.Errorf("%s: dns is %q", when, s.DNS.Mode)
		}
		if got := m.tunnel().Inbound().String(); got != others["inbound"] {
			t.Errorf("%s: the tunnel lets in %s", when, got)
		}
	}
	check("set")
	if m.planes() != 2 {
		t.Errorf("the mesh was made %d times", m.planes())
	}
	d.stop()

	d = m.start("")
	d.awaitState(localapi.Running)
	check("after a restart")
	if err := d.Set(t.Context(), defaults); err != nil {
		t.Fatal(err)
	}
	if got := d.values(); !maps.Equal(got, defaults) {
		t.Errorf("back: got %v", got)
	}
	if c := m.puncher().config; c.BirthdayRate != 100 || c.Metered() || len(c.Advertise) != 0 {
		t.Errorf("back: rate %d, metered %v, %v", c.BirthdayRate, c.Metered(), c.Advertise)
	}
	d.stop()
}

func TestSettingsHeededWithoutARebuild(t *testing.T) {
	m := newMachine(t, "nas")
	d := m.start(newHub(t).Join().String())
	d.awaitState(localapi.Running)
	for _, s := range []struct {
		dns, mdns, metered, relay, useRelays, rate, inbound string
		offer                                               punch.Offer
		probes                                              int
	}{
		{"off", "off", "on", "on", "off", "0", "none", punch.OfferOn, -1},
		{"auto", "auto", "off", "off", "on", "50", "udp/60000-61000", punch.OfferOff, 50},
		{"auto", "auto", "off", "auto", "on", "100", "all", punch.OfferAuto, 100},
	} {
		if err := d.Set(t.Context(), map[string]string{
			"dns": s.dns, "mdns": s.mdns, "metered": s.metered, "relay": s.relay, "use-relays": s.useRelays, "search-rate": s.rate, "inbound": s.inbound,
		}); err != nil {
			t.Fatal(err)
		}
		if offer, hubOnly, rate := m.puncher().told(); offer != s.offer || hubOnly != (s.useRelays == "off") || rate != s.probes {
			t.Errorf("%+v: punch has offer %v, hub only %v, rate %d", s, offer, hubOnly, rate)
		}
		if (d.Status().DNS.Mode == "off") != (s.dns == "off") {
			t.Errorf("dns=%s: got %q", s.dns, d.Status().DNS.Mode)
		}
		if got := m.tunnel().Inbound().String(); got != s.inbound {
			t.Errorf("inbound=%s: got %s", s.inbound, got)
		}
		if got := m.puncher().config.Metered(); got != (s.metered == "on") {
			t.Errorf("metered=%s: got %v", s.metered, got)
		}
	}
	if m.planes() != 1 {
		t.Errorf("the mesh was made %d times", m.planes())
	}
	d.stop()
}

func TestMeteredNetworkIsNoticed(t *testing.T) {
	m := newMachine(t, "nas")
	d := m.start(newHub(t).Join().String())
	d.awaitState(localapi.Running)
	metered := m.puncher().config.Metered
	for _, yes := range []bool{true, false} {
		m.host.SetMetered(yes)
		m.fire(netcfg.Event{Reason: "route"})
		await(t, "the modem", func() bool { return metered() == yes })
	}
	links := m.puncher().linkChanges()
	m.fire(netcfg.Event{Reason: "route"})
	await(t, "the event", func() bool { return m.puncher().linkChanges() > links })
	m.host.SetMetered(true)
	await(t, "what is known only some time after the change", metered)
	if err := d.Set(t.Context(), map[string]string{"metered": "off"}); err != nil {
		t.Fatal(err)
	}
	links = m.puncher().linkChanges()
	m.host.SetMetered(true)
	m.fire(netcfg.Event{Reason: "route"})
	await(t, "the event", func() bool { return m.puncher().linkChanges() > links })
	if metered() {
		t.Error("metered, against the owner's word")
	}
	d.stop()
}

func TestSettingsRefused(t *testing.T) {
	m := newMachine(t, "nas")
	d := m.start("")
	before := d.values()
	var nine []string
	for port := range 9 {
		nine = append(nine, fmt.Sprintf("203.0.113.9:%d", port+1))
	}
	for _, tt := range []struct{ key, value, want, hint string }{
		{"speed", "9", `"speed"`, "search-rate"},
		{"dns", "maybe", `"maybe"`, "auto or off"},
		{"relay", "", `""`, "auto, on or off"},
		{"use-relays", "auto", `"auto"`, "on or off"},
		{"search-rate", "301", `"301"`, "0 to 300"},
		{"search-rate", "-1", `"-1"`, "0 to 300"},
		{"fwmark", "0x100000000", `"0x100000000"`, "32 bits"},
		{"metered", "yes", `"yes"`, "auto, on or off"},
		{"inbound", "tcp/22,ssh", `"ssh"`, "tcp/22"},
		{"inbound", "", `""`, "all, none"},
		{"advertise-endpoint", "203.0.113.9", `"203.0.113.9"`, "ADDR:PORT"},
		{"advertise-endpoint", "", `""`, "ADDR:PORT"},
		{"advertise-endpoint", strings.Join(nine, ","), "9 endpoints", ""},
	} {
		err := d.Set(t.Context(), map[string]string{tt.key: tt.value, "mdns": "off", "port-mapping": "off"})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(localapi.HintOf(err), tt.hint) {
			t.Errorf("%s=%s: got %v (%s)", tt.key, tt.value, err, localapi.HintOf(err))
		}
	}
	if after := d.values(); !maps.Equal(after, before) {
		t.Errorf("got %v, though all was refused", after)
	}
	d.stop()
}

func TestEverySettingHasItsDefault(t *testing.T) {
	for _, s := range settings {
		var fresh, put state
		if got := s.value(&fresh); got != s.fallback {
			t.Errorf("%s: fresh value %q, default %q", s.key, got, s.fallback)
		}
		if err := s.put(&put, s.fallback); err != nil || s.value(&put) != s.fallback {
			t.Errorf("%s: its default is refused: %v", s.key, err)
		}
		if _, tested := others[s.key]; !tested {
			t.Errorf("%s: no test sets it", s.key)
		}
	}
}

func TestWhatCannotBeKeptDoesNotHappen(t *testing.T) {
	m := newMachine(t, "nas")
	d := m.start(newHub(t).Join().String())
	d.awaitState(localapi.Running)
	before := d.values()
	file := folder{m.config.StateDir}.file(stateFile)
	if err := errors.Join(os.Remove(file), os.MkdirAll(file+"/in the way", 0o700)); err != nil {
		t.Fatal(err)
	}
	_, announced := d.Announce(t.Context(), localapi.AnnounceRequest{Type: "http", Port: 80})
	_, fromLAN := d.Announce(t.Context(), localapi.AnnounceRequest{Type: "ipp", FromLAN: true})
	for what, err := range map[string]error{"set": d.Set(t.Context(), map[string]string{"metered": "on"}), "announce": announced, "announce --from-lan": fromLAN} {
		if err == nil || !strings.Contains(err.Error(), file) || localapi.HintOf(err) == "" {
			t.Errorf("%s: got %v, want an error that names %s, and a hint", what, err, file)
		}
	}
	if list, err := d.Announced(t.Context()); err != nil || len(list) > 0 || !maps.Equal(d.values(), before) {
		t.Errorf("changed none the less: %v, %v, %v", list, d.values(), err)
	}
	d.stop()
}
