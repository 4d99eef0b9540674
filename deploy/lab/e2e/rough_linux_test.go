package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

func TestRoughLinks(t *testing.T) {
	for name, link := range map[string]lab.Delay{
		"a fifth lost":        {OneWay: 10 * time.Millisecond, Hops: 2, Loss: 0.106}, // by two links
		"far away":            {OneWay: 150 * time.Millisecond, Hops: 2},
		"far away, and lossy": {OneWay: 150 * time.Millisecond, Hops: 2, Loss: 0.106},
		"out of order":        {OneWay: 10 * time.Millisecond, Hops: 2, Jitter: 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			_, _, alice, bob := s.homes(lab.Gateway{Link: link}, lab.Gateway{Link: link})
			s.join(alice, bob)
			s.direct(alice, bob)
			changes := pathChanges(alice) + pathChanges(bob)
			s.trickles(alice, bob, 6*time.Second)
			flaps := pathChanges(alice) + pathChanges(bob) - changes
			t.Logf("the path changed %d times under traffic", flaps)
			if flaps > 8 {
				t.Errorf("the path changed %d times in 6 s, want it to stay", flaps)
			}
			s.direct(alice, bob)
		})
	}
}

// pathChanges is how often a member has told of another path.
func pathChanges(a *mesh.Agent) int { return strings.Count(a.Log(), `msg="path changed"`) }

// trickles pings for a while, and checks that most of it went straight. Where much is
// lost, TCP would be of no use.
func (s *scene) trickles(a, b *mesh.Agent, d time.Duration) {
	s.t.Helper()
	addr, err := a.Address(s.t.Context(), b.Host.Name)
	must(s.t, err)
	must(s.t, mesh.Await(s.t.Context(), 4*patience, func() error { // a handshake that is lost is repeated after 5 s
		_, err := a.Host.Run(s.t.Context(), "ping", "-c", "1", "-W", "2", addr)
		return err
	}))
	before := s.flows()
	const every, size = 20 * time.Millisecond, 1000
	out, err := a.Host.Run(s.t.Context(), "ping", "-q", "-i", fmt.Sprint(every.Seconds()), "-s", fmt.Sprint(size), "-w", fmt.Sprint(d.Seconds()), addr)
	must(s.t, err)
	_, statistics, _ := strings.Cut(out, "statistics ---\n")
	s.t.Log(strings.TrimSpace(statistics))
	var n uint64 // a busy machine sends fewer
	fmt.Sscan(statistics, &n)
	after := s.flows()
	sent := n * size
	ab := lab.Flow{From: mesh.HomeAAddr, To: mesh.HomeBAddr}
	there, back := after[ab].Bytes-before[ab].Bytes, after[ab.Reverse()].Bytes-before[ab.Reverse()].Bytes
	if n == 0 || there < sent/2 || back < sent/4 {
		s.t.Errorf("of %d bytes of pings, %d passed the core straight, and %d of the answers", sent, there, back)
	}
}

// wireGuard matches WireGuard's own packets: type 1 to 4 and three zeros.
const wireGuard = "ip saddr %s ip daddr %s udp length > 32 @th,64,32 { 0x01000000, 0x02000000, 0x03000000, 0x04000000 }"

func TestNetworkThatDropsWireGuard(t *testing.T) {
	s := newScene(t)
	_, _, alice, bob := s.homes(lab.Gateway{}, lab.Gateway{})
	must(t, s.Lab.Drop(fmt.Sprintf(wireGuard, mesh.HomeAAddr, mesh.HomeBAddr)))
	must(t, s.Lab.Drop(fmt.Sprintf(wireGuard, mesh.HomeBAddr, mesh.HomeAAddr)))

	t.Log("Something between the homes lets every probe through, but not WireGuard.")
	s.join(alice, bob)
	at := time.Now()
	stream := s.ping(alice, bob)
	for _, ends := range [][2]*mesh.Agent{{alice, bob}, {bob, alice}} {
		must(t, mesh.Await(t.Context(), 10*patience, func() error { // a trial without proof is repeated after a minute
			p, err := ends[0].Peer(t.Context(), ends[1].Host.Name)
			if err == nil && (p.Path != "relay" || !strings.Contains(p.Reason, "WireGuard")) {
				err = fmt.Errorf("the path of %s to %s is %s (%s), want relay because WireGuard is dropped", ends[0].Host.Name, p.Name, p.Path, p.Reason)
			}
			return err
		}))
	}
	t.Logf("relayed after %v", time.Since(at).Round(time.Millisecond))
	stream.silence()
	s.relayed(alice, bob)
	text, err := alice.Command(t.Context(), "why", "bob")
	must(t, err)
	t.Log(text)
}
