package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	meshdv1 "meshd/coordinator/api/meshd/v1"
)

func TestKeys(t *testing.T) {
	b, h := newBench(t), &fakeHub{}
	b.serveHub(t, h)
	const talk = "admits one machine until 2026-11-22 12:00, after approval; on the new machine: meshd up JOIN"
	b.do(t, "coordinator key create", 0, "meshd1:hub.example/secret", talk)
	b.do(t, "coordinator key create --reusable --approved --ephemeral --expires 30d --tag ci,eu --tag x", 0, "meshd1:hub.example/secret", talk)
	want := []*meshdv1.CreateKeyRequest{
		{ExpiresSeconds: 86400},
		{Reusable: true, Approved: true, Ephemeral: true, ExpiresSeconds: 30 * 86400, Tags: []string{"ci", "eu", "x"}},
	}
	if diff := cmp.Diff(h.created, want, protocmp.Transform()); diff != "" {
		t.Errorf("asked for (-got +want)\n%s", diff)
	}
	b.do(t, "coordinator key create --json", 0, `
		{
		  "id": 3,
		  "join": "meshd1:hub.example/secret",
		  "reusable": false,
		  "approved": false,
		  "ephemeral": false,
		  "tags": [],
		  "created": "2026-11-21T12:00:00Z",
		  "expires": "2026-11-22T12:00:00Z",
		  "used": 0,
		  "expired": false
		}
	`, "")
	b.do(t, "coordinator key list", 0, `
		ID  KIND                           TAGS    USED  CREATED           EXPIRES
		3   single-use                     -       0     2026-11-21 12:00  2026-11-22 12:00
		4   reusable, approved, ephemeral  ci, eu  12    2026-11-21 12:00  expired
	`, "")
	b.do(t, "coordinator key expire 3", 0, "key 3 expired", "")
	b.do(t, "coordinator key expire 9", 1, "", "meshd: there is no key 9\nhint: meshd coordinator key list")
	b.do(t, "coordinator key expire x", 2, "", "meshd: key id \"x\" is no number\nhint: meshd coordinator key list")
	b.do(t, "coordinator key create --expires 0s", 2, "", "meshd: --expires 0s: want a second or more\nhint: meshd coordinator key create --help")
}

func TestMembers(t *testing.T) {
	b := newBench(t)
	b.serveHub(t, &fakeHub{})
	b.do(t, "coordinator member list", 0, `
		ID  NAME   ADDRESSES            STATE    SEEN    SEEN AT            RELAY  TAGS    VERSION
		2   nas    100.96.0.2, fd12::2  online   now     203.0.113.9:41641  udp    server  v1.0.0
		5   phone  -                    pending  1h ago  -                  -      -       -
	`, "")
	b.do(t, "coordinator member approve nas", 0, "nas (100.96.0.2, fd12::2) approved", "")
	b.do(t, "coordinator member approve nas foo", 1, "nas (100.96.0.2, fd12::2) approved", "meshd: there is no member foo\nhint: meshd coordinator member list")
	b.do(t, "coordinator member rename nas attic", 0, "nas is now attic", "")
	b.do(t, "coordinator member rename nas", 2, "", "meshd: meshd coordinator member rename: MEMBER or NAME is missing\nhint: meshd coordinator member rename --help")
	const approved = `
		[
		  {
		    "id": 2,
		    "name": "nas",
		    "addresses": [
		      "100.96.0.2",
		      "fd12::2"
		    ],
		    "state": "online",
		    "tags": [
		      "server"
		    ],
		    "ephemeral": false,
		    "created": "2026-11-21T12:00:00Z",
		    "version": "v1.0.0",
		    "relay": "udp",
		    "observed": "203.0.113.9:41641"
		  }
		]
	`
	b.do(t, "coordinator member approve nas --json", 0, approved, "")
	b.do(t, "coordinator member approve nas foo --json", 1, approved, "meshd: there is no member foo\nhint: meshd coordinator member list")
	b.do(t, "coordinator member approve foo nas --json", 1, "", "meshd: there is no member foo\nhint: meshd coordinator member list")
}

func TestCoordinatorStatus(t *testing.T) {
	b := newBench(t)
	b.do(t, "coordinator status", 1, "", `
		meshd: no coordinator answers at DIR/coordinator.sock
		hint: start it: meshd coordinator serve; or name its state folder: --state DIR
	`)
	b.serveHub(t, &fakeHub{})
	b.do(t, "coordinator status", 0, `
		mesh      home  100.96.0.0/16  fd12::/48
		members   2, 1 online, 1 pending
		relay     1 session, 99 packets, 5.0 GiB
		kernel    2 flows, 90 packets, 4.0 GiB of it
		public    hub.example
		listen    TCP [::]:443  UDP [::]:3478, [::]:3479
		identity  aaaa-bbbb
		version   v1.0.0, up for 3d
		health    the disk is full
	`, "")
}

func TestServe(t *testing.T) {
	b, h := newBench(t), &fakeHub{empty: true}
	b.serveHub(t, h)
	b.do(t, "coordinator serve --public hub.example,203.0.113.1:8443 --listen :8443 --udp 203.0.113.1:3478,203.0.113.1:3479 --mesh home --prefix4 10.9.0.0/16", 0, "",
		"nobody is in mesh home yet; to invite a machine: meshd coordinator key create --state DIR")
	h.empty = false
	b.do(t, "coordinator serve", 0, "", "")
	first, second := b.coordCfg[0], b.coordCfg[1]
	for _, tt := range []struct{ name, got, want string }{
		{"state", first.StateDir, b.dir},
		{"public", list(first.Public), "hub.example, 203.0.113.1:8443"},
		{"listen", first.Listen.String(), "0.0.0.0:8443"},
		{"udp", list(first.UDP), "203.0.113.1:3478, 203.0.113.1:3479"},
		{"mesh", first.Mesh, "home"},
		{"prefix4", first.Prefix4.String(), "10.9.0.0/16"},
		{"version", first.Version, "v1.0.0"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s is %s, want %s", tt.name, tt.got, tt.want)
		}
	}
	if second.Listen.IsValid() || len(second.UDP) != 0 || second.Mesh != "" || second.Prefix6.IsValid() {
		t.Errorf("without flags: %+v", second)
	}
	const help = "\nhint: meshd coordinator serve --help"
	for _, tt := range []struct{ flag, want string }{
		{"--listen 443", `invalid argument "443" for "--listen" flag: "443": want an address and a port, such as 203.0.113.1:443 or :443`},
		{"--udp :3478,:0", `invalid argument ":3478,:0" for "--udp" flag: ":0": want an address and a port, such as 203.0.113.1:443 or :443`},
		{"--prefix4 10.0.0.0", `invalid argument "10.0.0.0" for "--prefix4" flag: "10.0.0.0": want a prefix, such as 10.20.0.0/16`},
	} {
		b.do(t, "coordinator serve "+tt.flag, 2, "", "meshd: "+tt.want+help)
	}
}

func TestDays(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want time.Duration
		text string
	}{
		{"90m", 90 * time.Minute, "1h30m"},
		{"24h", 24 * time.Hour, "24h"},
		{"30d", 30 * 24 * time.Hour, "30d"},
		{"10m", 10 * time.Minute, "10m"},
		{"30s", 30 * time.Second, "30s"},
		{"100h", 100 * time.Hour, "100h"},
	} {
		var d days
		if err := d.Set(tt.in); err != nil || time.Duration(d) != tt.want || d.String() != tt.text {
			t.Errorf("%s: got %v, %s, %v", tt.in, time.Duration(d), d.String(), err)
		}
	}
	for _, bad := range []string{"", "d", "1.5d", "-1d", "40000d", "soon", "5"} {
		if err := new(days).Set(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestBitRate(t *testing.T) {
	for s, want := range map[string]float64{"800": 800, "500k": 5e5, "50M": 5e7, "1.5G": 1.5e9} {
		var r bitRate
		if err := r.Set(s); err != nil || float64(r) != want {
			t.Errorf("%q: got %v, %v, want %v", s, float64(r), err, want)
		}
	}
	for _, bad := range []string{"", "0", "-1M", "M", "fast", "5T", "NaN", "2000G"} {
		if err := new(bitRate).Set(bad); err == nil {
			t.Errorf("%q: taken", bad)
		}
	}
}
