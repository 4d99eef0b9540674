package e2e

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"testing"
	"time"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

var (
	shedAddr   = netip.MustParseAddr("198.51.100.60")
	branchAddr = netip.MustParseAddr("198.51.100.50")
)

// newShed adds the shed, which anyone can reach.
func newShed(t *testing.T, w *mesh.World) *mesh.Agent {
	t.Helper()
	host, err := w.Lab.Public("shed", lab.Delay{OneWay: 5 * time.Millisecond}, shedAddr)
	must(t, err)
	// Its line is a tunnel of the lab's, whose address is no candidate; that of a
	// network card is.
	must(t, host.Shell("ip link add eth0 type veth peer name eth1; ip link set eth1 up; ip link set eth0 up; ip addr add "+shedAddr.String()+"/32 dev eth0"))
	return mesh.NewAgent(host, bin)
}

// trio adds the shed, and the till, whose gateway is as the desk's: the two can't
// be direct.
func trio(t *testing.T, w *mesh.World) (shed, till *mesh.Agent) {
	t.Helper()
	shed = newShed(t, w)
	site, err := w.Lab.Site("branch", lab.Gateway{
		Public: branchAddr, LAN: netip.MustParsePrefix("192.168.1.0/24"), NAT: lab.Symmetric, Link: lab.Delay{OneWay: 5 * time.Millisecond},
	})
	must(t, err)
	host, err := site.Host("till")
	must(t, err)
	till = mesh.NewAgent(host, bin)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("shed said:\n%s\ntill said:\n%s", shed.Log(), till.Log())
		}
	})
	return shed, till
}

// relayedBy waits until a member's data to another goes by a relay: "" is the hub.
func relayedBy(t *testing.T, from *mesh.Agent, to, relay string) {
	t.Helper()
	must(t, mesh.Await(t.Context(), 2*patience, func() error {
		p, err := from.Peer(t.Context(), to)
		if err == nil && (p.Path != "relay" || p.Relay != relay) {
			err = fmt.Errorf("path from %s to %s is %q by %q (%s), want relay by %q", from.Host.Name, to, p.Path, p.Relay, p.Reason, relay)
		}
		return err
	}))
}

// offers waits until a member offers to relay, and the others have heard of it.
func offers(t *testing.T, relay *mesh.Agent, others ...*mesh.Agent) {
	t.Helper()
	must(t, mesh.Await(t.Context(), 2*patience, func() error {
		s, err := relay.Status(t.Context())
		if err == nil && s.Relaying == nil {
			err = fmt.Errorf("%s does not relay: NAT is %q", relay.Host.Name, s.Self.NAT)
		}
		return err
	}))
	for _, a := range others {
		must(t, mesh.Await(t.Context(), patience, func() error {
			p, err := a.Peer(t.Context(), relay.Host.Name)
			if err == nil && !p.Relays {
				err = fmt.Errorf("%s has not heard that %s relays", a.Host.Name, relay.Host.Name)
			}
			return err
		}))
	}
}

var seqs = regexp.MustCompile(`icmp_seq=(\d+)`)

// longestGap is the longest row of pings without an answer.
func longestGap(out string, every time.Duration) time.Duration {
	last, longest := 0, 0
	for _, m := range seqs.FindAllStringSubmatch(out, -1) {
		n, _ := strconv.Atoi(m[1]) // digits
		longest = max(longest, n-last-1)
		last = n
	}
	return time.Duration(longest) * every
}

func TestMemberRelaysWhenTheHubIsGone(t *testing.T) {
	w := world(t)
	shed, till := trio(t, w)
	join(t, w, shed, w.Desk, till)
	must(t, w.Desk.AwaitPath(t.Context(), patience, "shed", "direct"))
	must(t, till.AwaitPath(t.Context(), patience, "shed", "direct"))
	offers(t, shed, w.Desk, till)
	must(t, w.Desk.AwaitPing(t.Context(), patience, "till"))
	push(t, w.Desk, till, megabyte/10)

	t.Log("The hub dies while the two talk, and they talk on.")
	const every = 50 * time.Millisecond
	addr, err := w.Desk.Address(t.Context(), "till")
	must(t, err)
	pinging := w.Desk.Host.Command(t.Context(), "ping", "-i", fmt.Sprint(every.Seconds()), "-c", "160", "-W", "2", addr)
	out := make(chan string, 1)
	go func() {
		b, _ := pinging.Output() // it fails when an answer is missing
		out <- string(b)
	}()
	must(t, w.Desk.AwaitPing(t.Context(), patience, "till"))
	must(t, w.Hub.Kill())
	silent := longestGap(<-out, every)
	t.Logf("silent for %v", silent)
	if silent > 4*time.Second { // mostly 0.5 s; the machine may be busy
		t.Errorf("silent for %v", silent)
	}
	relayedBy(t, w.Desk, "till", "shed")
	relayedBy(t, till, "desk", "shed")

	t.Log("The core tells which way a megabyte goes.")
	var second uint64
	first := passed(t, w.Lab, mesh.OfficeAddr, shedAddr, func() {
		second = passed(t, w.Lab, shedAddr, branchAddr, func() { push(t, w.Desk, till, megabyte) })
	})
	if first < megabyte || second < megabyte {
		t.Errorf("the core carried %d bytes from the office to the shed and %d from there to the branch, want %d at least", first, second, megabyte)
	}
	s, err := shed.Status(t.Context())
	must(t, err)
	if s.Relaying == nil || s.Relaying.Bytes < megabyte {
		t.Errorf("the shed says that it relayed %+v, want %d bytes at least", s.Relaying, megabyte)
	}
	pong, err := w.Desk.Command(t.Context(), "ping", "-c", "1", "till")
	must(t, err)
	if want := fmt.Sprintf("pong from till (%s) via relay shed in ", addr); len(pong) < len(want) || pong[:len(want)] != want {
		t.Errorf("ping says %q, want %q", pong, want)
	}

	t.Log("An agent crashes and starts again, with no hub to ask.")
	must(t, till.Kill(t.Context()))
	_, err = till.Up(t.Context())
	must(t, err)
	must(t, w.Desk.AwaitPing(t.Context(), 2*patience, "till"))
	push(t, w.Desk, till, megabyte/10)

	t.Log("The hub is back, and the shed declines from now on.")
	must(t, w.Hub.Start(t.Context()))
	must(t, shed.Down(t.Context()))
	_, err = shed.Up(t.Context(), "--relay=off")
	must(t, err)
	relayedBy(t, w.Desk, "till", "")
	relayedBy(t, till, "desk", "")
	push(t, w.Desk, till, megabyte/10)
	if s, err = shed.Status(t.Context()); err != nil || s.Relaying != nil {
		t.Errorf("the shed relays: %+v, %v", s.Relaying, err)
	}
}

// moved is what the core carried to and from an address between two looks.
func moved(before, after map[lab.Flow]lab.Count, addr netip.Addr) uint64 {
	var sum uint64
	for f, n := range after {
		if f.From == addr || f.To == addr {
			sum += n.Bytes - before[f].Bytes
		}
	}
	return sum
}

// TestMemberNearerThanTheHub is about a hub that lives, but far away.
func TestMemberNearerThanTheHub(t *testing.T) {
	s := newSceneBy(t, lab.Delay{OneWay: 60 * time.Millisecond})
	near := lab.Gateway{NAT: lab.Symmetric, Link: lab.Delay{OneWay: 5 * time.Millisecond}}
	_, desk := s.home("desk", mesh.OfficeAddr, near)
	_, till := s.home("till", branchAddr, near)
	shed := newShed(t, s.World)
	s.members = append(s.members, shed)
	s.join(desk, till)

	t.Log("Two that can't be direct talk by the hub, for there is nothing else.")
	talk := s.ping(desk, till)
	relayedBy(t, desk, "till", "")
	s.relayed(desk, till)

	t.Log("A member that both reach directly joins, nearer by far: their words move there, in midst of talk.")
	start := time.Now()
	s.join(shed)
	relayedBy(t, desk, "till", "shed")
	relayedBy(t, till, "desk", "shed")
	t.Logf("both send by the shed %v after it began to join", time.Since(start).Round(time.Millisecond))

	t.Log("And there they stay, by what the core counts of each two seconds.")
	const span = 2 * time.Second
	for range 5 {
		before := s.flows()
		quiet(t, span)
		after := s.flows()
		byShed, byHub := moved(before, after, shedAddr), moved(before, after, mesh.HubAddr)
		t.Logf("%d bytes by the shed, %d to and from the hub", byShed, byHub)
		if byShed < 2*byHub {
			t.Errorf("in %v the core carried %d bytes by the shed and %d to and from the hub, want nearly all by the shed", span, byShed, byHub)
		}
	}
	var byShed uint64
	byHub := passed(t, s.Lab, mesh.OfficeAddr, mesh.HubAddr, func() {
		byShed = passed(t, s.Lab, mesh.OfficeAddr, shedAddr, func() { push(t, desk, till, megabyte) })
	})
	if byShed < megabyte || byHub > megabyte/10 {
		t.Errorf("of 1 MiB the core carried %d bytes from the office to the shed and %d to the hub", byShed, byHub)
	}
	talk.bears("a nearer relay came")
}
