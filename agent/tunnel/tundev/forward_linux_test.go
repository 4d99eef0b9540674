package tundev

import (
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"meshd/agent/netcfg/nstest"
	"meshd/agent/tunnel/vnet"
	"meshd/agent/tunnel/vnet/vnettest"
)

func TestIntoTunnels(t *testing.T) {
	for _, row := range []struct {
		forwards bool
		kinds    []string
		want     bool
	}{
		{false, nil, false},
		{true, nil, false},
		{true, []string{"device", "veth", "bridge", "tuntap", "wireguard"}, false},
		{false, []string{"device", "vxlan"}, false},
		{true, []string{"device", "vxlan"}, true},
		{true, []string{"geneve"}, true},
	} {
		if got := intoTunnels(row.forwards, row.kinds); got != row.want {
			t.Errorf("forwards %v, with links %v: got %v, want %v", row.forwards, row.kinds, got, row.want)
		}
	}
}

// said is a log whose lines are waited for.
type said chan string

func (s said) Write(line []byte) (int, error) {
	s <- string(line)
	return len(line), nil
}

func (s said) await(t *testing.T, want string) {
	t.Helper()
	select {
	case line := <-s:
		if !strings.Contains(line, want) {
			t.Fatalf("logged %q, want %q", line, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("%q was not logged", want)
	}
}

// UDP is joined, and is not while the host forwards into a vxlan.
func TestForwarding(t *testing.T) {
	sysctl := func(v string) {
		t.Helper()
		for _, path := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
			if err := os.WriteFile(path, []byte(v), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	sysctl("0")
	told := make(said, 8)
	d := openWith(t, "vnet0", Config{MTU: 1400, Offloads: everything, Log: slog.New(slog.NewTextHandler(told, nil))})
	up(t, "vnet0")
	go d.Watch()
	go func() {
		for range d.Events() {
		}
	}()
	p := vnettest.Packet{From: from4, To: to4, UDP: true, DF: true, Payload: payload(100)}.Bytes()
	for _, step := range []struct {
		name   string
		do     func()
		says   string // what is logged, and so waited for
		frames int    // for two packets of a flow
	}{
		{"neither", func() {}, "", 1},
		{"forwards", func() { sysctl("1") }, "", 1},
		{"forwards, and has a vxlan", func() { nstest.IP(t, "link add vx0 type vxlan id 1 dstport 4789") }, "one by one", 2},
		{"forwards no more", func() { sysctl("0") }, "joined again", 1},
		{"forwards again", func() { sysctl("1") }, "one by one", 2},
		{"has no vxlan any more", func() { nstest.IP(t, "link del vx0") }, "joined again", 1},
	} {
		step.do()
		if step.says != "" {
			told.await(t, step.says)
		}
		frames := 0
		c := vnet.NewCoalescer(func([][]byte) error { frames++; return nil }, everything)
		c.SplitUDP(&d.split)
		c.Add(p)
		c.Add(p)
		c.Flush()
		if frames != step.frames {
			t.Errorf("%s: two packets in %d frames, want %d", step.name, frames, step.frames)
		}
	}
	// Who starts then knows at once, and who insists joins.
	sysctl("1")
	nstest.IP(t, "link add vx0 type vxlan id 1 dstport 4789")
	defer nstest.IP(t, "link del vx0")
	if late := open(t, "vnet1", everything); !late.split.Load() {
		t.Error("UDP is joined by a device that was made later")
	}
	if insists := openWith(t, "vnet2", Config{MTU: 1400, Offloads: everything, ForwardUDP: true}); insists.split.Load() {
		t.Error("UDP is not joined by a device that was told to")
	}
}
