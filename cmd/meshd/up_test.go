package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"meshd/agent/localapi"
	"meshd/coordinator/api"
)

var goodJoin = api.JoinString{Hosts: []string{"hub.example"}, Port: 443}.String()

const isUp = `
	laptop is up in mesh meshd
	addresses  100.96.0.7, fd12::7
	NAT        endpoint-independent mapping
	peers      2

	PEER  ADDRESS     PATH
	nas   100.96.0.2  direct 203.0.113.9:41641
	old   100.96.0.3  none (offline)
`

func state(s localapi.State) localapi.Status {
	return localapi.Status{Mesh: "meshd", State: s, Self: localapi.Self{Name: "laptop"}}
}

// startsDaemon makes startDaemon work.
func (b *bench) startsDaemon(t *testing.T) {
	b.startDaemon = func(_ context.Context, d daemon) error {
		b.started = append(b.started, d)
		b.serveDaemon(t)
		return nil
	}
}

func TestUpStartsADaemon(t *testing.T) {
	b := newBench(t)
	b.startsDaemon(t)
	b.daemon.status, b.daemon.next = state(localapi.Joining), []localapi.Status{state(localapi.Pending), state(localapi.Pending), state(localapi.Starting), running()}
	b.do(t, "up "+goodJoin+" --hostname laptop --interface mesh7", 0, isUp, `
		joining
		waiting for approval: on the coordinator run: meshd coordinator member approve laptop
		bringing the interface up
	`)
	want := daemon{mesh: "meshd", state: b.dir, socket: b.dir + "/meshd.sock",
		flags: []string{"--interface=mesh7", "--socket=" + b.dir + "/meshd.sock", "--state=" + b.dir}}
	if diff := cmp.Diff(b.started, []daemon{want}, cmp.AllowUnexported(daemon{})); diff != "" {
		t.Errorf("started (-got +want)\n%s", diff)
	}
	if diff := cmp.Diff(b.daemon.ups, []localapi.UpRequest{{Join: goodJoin, Hostname: "laptop"}}); diff != "" {
		t.Errorf("told (-got +want)\n%s", diff)
	}
}

func TestUpWithADaemon(t *testing.T) {
	b := newBench(t)
	b.serveDaemon(t)
	b.do(t, "up", 0, isUp, "mesh meshd is up already")
	b.do(t, "up "+goodJoin, 0, isUp, "")
	b.daemon.status = state(localapi.Starting)
	b.do(t, "up --wait 0", 0, "", "bringing the interface up")
	if len(b.started) != 0 {
		t.Errorf("%d daemons were started beside the one that runs", len(b.started))
	}
}

func TestUpWaitsNoLongerThanTold(t *testing.T) {
	b := newBench(t)
	b.startsDaemon(t)
	b.daemon.status = state(localapi.Pending)
	const approve = "waiting for approval: on the coordinator run: meshd coordinator member approve laptop"
	b.do(t, "up --wait 50ms", 3, "", approve+"\nmeshd: mesh meshd is not up after 50ms: "+approve+"\nhint: the daemon keeps trying; see meshd status")
	if b.daemon.downs != 0 {
		t.Error("the daemon was ended, though it has something to wait for")
	}
}

func TestUpEndsADaemonStartedInVain(t *testing.T) {
	failed := state(localapi.Failed)
	failed.Failure = &localapi.Error{Message: "prefix 100.96.0.0/16 overlaps 100.96.1.1 of eth0", Hint: "choose another prefix"}
	for _, tt := range []struct {
		name   string
		setUp  func(*fakeDaemon)
		stderr string
	}{
		{"refused", func(d *fakeDaemon) {
			d.upErr = localapi.WithHint(errors.New("the join string has expired"), "ask for another")
		},
			"meshd: the join string has expired\nhint: ask for another"},
		{"failed", func(d *fakeDaemon) { d.status = failed },
			"meshd: prefix 100.96.0.0/16 overlaps 100.96.1.1 of eth0\nhint: choose another prefix"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.startsDaemon(t)
			tt.setUp(b.daemon)
			b.do(t, "up "+goodJoin, 1, "", tt.stderr)
			if b.daemon.downs != 1 {
				t.Error("the daemon was left behind")
			}
		})
	}
}

func TestUpTakesJoinStringsFromAnywhere(t *testing.T) {
	b := newBench(t)
	file := filepath.Join(b.dir, "join")
	if err := os.WriteFile(file, []byte(goodJoin+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.env["MESHD_JOIN"] = goodJoin
	b.do(t, "up --foreground --port 41641", 0, "", "")
	b.env["MESHD_JOIN"] = "file:" + file
	b.do(t, "up --foreground", 0, "", "")
	b.do(t, "up --foreground file:"+file, 0, "", "")
	b.env["MESHD_JOIN"] = ""
	b.do(t, "up --foreground", 0, "", "")
	for i, c := range b.agents {
		want := goodJoin
		if i == 3 {
			want = ""
		}
		if c.Join != want || c.ExitOnFailure != (want != "") || c.StateDir != b.dir || c.Socket != b.dir+"/meshd.sock" {
			t.Errorf("agent %d: %+v", i, c)
		}
	}
	if len(b.agents) != 4 || b.agents[0].Port != 41641 {
		t.Errorf("ran %d agents, want 4", len(b.agents))
	}
}

func TestUpRefusesABadJoinStringBeforeAnythingElse(t *testing.T) {
	b := newBench(t)
	const hint = "\nhint: copy the whole line that `meshd coordinator key create` printed"
	b.do(t, "up hello", 1, "", `meshd: "hello" is no join string: it must begin with "meshd1:"`+hint)
	b.do(t, "up "+goodJoin[:40], 1, "", "meshd: join string for hub.example is cut short (21 of 58 characters after the slash)"+hint)
	b.do(t, "up file:DIR/none", 1, "", "meshd: read the join string: open DIR/none: no such file or directory")
	b.do(t, "up --foreground hello", 1, "", `meshd: "hello" is no join string: it must begin with "meshd1:"`+hint)
	if len(b.started)+len(b.agents) != 0 {
		t.Error("a daemon was started")
	}
}

func TestLastWords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meshd.log")
	const earlier = "meshd: of yesterday\n"
	for _, tt := range []struct{ log, sentence, hint string }{
		{"time=… level=INFO msg=hello\nmeshd: no TUN\nhint: modprobe tun\n", "no TUN", "modprobe tun"},
		{"panic: oh\n", "the daemon ended at once", "see " + path},
		{"", "the daemon ended at once", "see " + path},
	} {
		if err := os.WriteFile(path, []byte(earlier+tt.log), 0o600); err != nil {
			t.Fatal(err)
		}
		p := explain(lastWords(path, int64(len(earlier))))
		if p.sentence != tt.sentence || p.hint != tt.hint || p.code != exitFailed {
			t.Errorf("%q: %+v", tt.log, p)
		}
	}
}

func TestDaemonNeverSeesTheSecret(t *testing.T) {
	t.Setenv("MESHD_JOIN", goodJoin)
	t.Setenv("MESHD_LOG", "debug")
	env := strings.Join(daemonEnv(), "\n")
	if strings.Contains(env, goodJoin) || !strings.Contains(env, "MESHD_LOG=debug") {
		t.Errorf("the daemon's environment is\n%s", env)
	}
}

// After kill -9 a daemon's socket takes questions for some moments, and answers none.
func TestUpOutlivesADyingDaemon(t *testing.T) {
	b := newBench(t)
	b.startsDaemon(t)
	ln, err := net.Listen("unix", b.env["MESHD_SOCKET"])
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	go func() {
		for range 3 {
			if conn, err := ln.Accept(); err == nil {
				conn.Close()
			}
		}
		ln.Close()
	}()
	b.do(t, "up", 0, isUp, "")
	if len(b.started) != 1 {
		t.Errorf("%d daemons were started, want one in its place", len(b.started))
	}
}

func TestUpSaysWhatADaemonThatRunsIgnores(t *testing.T) {
	b := newBench(t)
	b.serveDaemon(t)
	b.do(t, "up --port-mapping off --hostname x --advertise-endpoint 62.20.0.1:1", 0, isUp,
		"the daemon runs already: it takes --advertise-endpoint=62.20.0.1:1 --port-mapping=off when it starts anew (meshd down; meshd up …), or what meshd get lists by meshd set\n"+
			"mesh meshd is up already\n"+
			"this machine has been laptop since it joined; its name changes on the coordinator: meshd coordinator member rename laptop x")
}

func TestNothingIsMadeForAMeshOfNoName(t *testing.T) {
	for _, line := range []string{"up --mesh ../x", "down --mesh ../x"} {
		newBench(t).do(t, line, 1, "", "meshd: mesh name \"../x\" is not valid\nhint: use up to 32 of a-z, 0-9 and -")
	}
}

func TestUpTakesEndpoints(t *testing.T) {
	one, two := netip.MustParseAddrPort("62.20.0.1:1000"), netip.MustParseAddrPort("[2a00:1450:1::1]:1000")
	for _, tt := range []struct {
		line, env string
		want      []netip.AddrPort
	}{
		{"", "", nil},
		{"--advertise-endpoint 62.20.0.1:1000 --advertise-endpoint [2a00:1450:1::1]:1000", "", []netip.AddrPort{one, two}},
		{"--advertise-endpoint none", "", []netip.AddrPort{}},
		{"", "62.20.0.1:1000, [2a00:1450:1::1]:1000,62.20.0.1:1000", []netip.AddrPort{one, two}},
		{"--advertise-endpoint 62.20.0.1:1000", "none", []netip.AddrPort{one}},
	} {
		b := newBench(t)
		b.env["MESHD_ADVERTISE_ENDPOINT"] = tt.env
		b.do(t, "up --foreground --port-mapping off "+tt.line, 0, "", "")
		if c := b.agents[0]; c.PortMapping != "off" || !reflect.DeepEqual(c.Advertise, tt.want) {
			t.Errorf("%q, %q: got %q, %#v, want %#v", tt.line, tt.env, c.PortMapping, c.Advertise, tt.want)
		}
		var again endpoints
		if tt.want != nil {
			was := endpoints(tt.want)
			if err := again.Set(was.String()); err != nil || !reflect.DeepEqual(again, was) {
				t.Errorf("%v as a flag of a daemon became %v, %v", was, again, err)
			}
		}
	}
	b := newBench(t)
	b.do(t, "up --advertise-endpoint nas:1", 2, "",
		`meshd: invalid argument "nas:1" for "--advertise-endpoint" flag: endpoint "nas:1": want an IP address and a port, not a name: `+
			"203.0.113.9:41641 or [2001:db8::9]:41641\nhint: meshd up --help")
}
