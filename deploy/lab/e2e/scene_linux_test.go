package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// hub6 is the hub's second way to be reached.
var hub6 = netip.MustParseAddr("2001:db8::1")

// homeLAN is what every home uses.
var homeLAN = netip.MustParsePrefix("192.168.1.0/24")

// access is a link long enough for an opener's low time to live to end on it.
var access = lab.Delay{OneWay: 5 * time.Millisecond, Hops: 2}

// scene is an internet with a running hub, for stories that bring sites of their
// own. They run beside each other.
type scene struct {
	*mesh.World
	t       *testing.T
	members []*mesh.Agent
}

// newScene starts a hub near the core.
func newScene(t *testing.T) *scene {
	t.Helper()
	return newSceneBy(t, lab.Delay{OneWay: time.Millisecond})
}

// newSceneBy starts a hub with an address of each family.
func newSceneBy(t *testing.T, link lab.Delay) *scene {
	t.Helper()
	t.Parallel()
	l, err := lab.New()
	must(t, err)
	s := &scene{World: &mesh.World{Lab: l}, t: t}
	t.Cleanup(s.close)
	host, err := l.Public("hub", link, mesh.HubAddr, hub6)
	must(t, err)
	s.Hub = mesh.NewHub(host, bin)
	must(t, s.Hub.Start(t.Context(), "--public", mesh.HubAddr.String(), "--public", hub6.String()))
	return s
}

func (s *scene) close() {
	if s.t.Failed() {
		s.t.Logf("the coordinator said:\n%s", s.Hub.Log())
		for _, a := range s.members {
			s.t.Logf("%s said:\n%s", a.Host.Name, a.Log())
		}
	}
	s.Lab.Close()
}

// site adds a site.
func (s *scene) site(name string, g lab.Gateway) *lab.Site {
	s.t.Helper()
	site, err := s.Lab.Site(name, g)
	must(s.t, err)
	return site
}

// host adds a host to a site, which isn't a member yet.
func (s *scene) host(site *lab.Site, name string) *mesh.Agent {
	s.t.Helper()
	h, err := site.Host(name)
	must(s.t, err)
	a := mesh.NewAgent(h, bin)
	s.members = append(s.members, a)
	return a
}

// home adds a site with one host, and makes up what g doesn't say.
func (s *scene) home(name string, public netip.Addr, g lab.Gateway) (*lab.Site, *mesh.Agent) {
	s.t.Helper()
	g.Public = public
	if !g.LAN.IsValid() {
		g.LAN = homeLAN
	}
	if g.NAT == "" && len(g.Translate) == 0 {
		g.NAT = lab.PortRestricted
	}
	if g.Link == (lab.Delay{}) {
		g.Link = access
	}
	site := s.site(name+"-home", g)
	return site, s.host(site, name)
}

// public adds a host without NAT, which isn't a member yet.
func (s *scene) public(name string, addr netip.Addr) *mesh.Agent {
	s.t.Helper()
	h, err := s.Lab.Public(name, access, addr)
	must(s.t, err)
	a := mesh.NewAgent(h, bin)
	s.members = append(s.members, a)
	return a
}

// homes is a scene of two homes, whose hosts are not members yet.
func (s *scene) homes(a, b lab.Gateway) (siteA, siteB *lab.Site, alice, bob *mesh.Agent) {
	s.t.Helper()
	siteA, alice = s.home("alice", mesh.HomeAAddr, a)
	siteB, bob = s.home("bob", mesh.HomeBAddr, b)
	return siteA, siteB, alice, bob
}

func (s *scene) join(agents ...*mesh.Agent) {
	s.t.Helper()
	join(s.t, s.World, agents...)
}

// direct waits until two members say that they reach each other directly.
func (s *scene) direct(a, b *mesh.Agent) {
	s.t.Helper()
	must(s.t, a.AwaitPath(s.t.Context(), 2*patience, b.Host.Name, "direct"))
	must(s.t, b.AwaitPath(s.t.Context(), 2*patience, a.Host.Name, "direct"))
}

// carries pushes a megabyte both ways and checks what the core counted: of straight,
// addresses in pairs, at least that much in all, and next to nothing to and from the
// hub; without straight nothing passes the core. While a new path is not sure yet,
// data goes both ways for some moments: that is not held against it.
func (s *scene) carries(a, b *mesh.Agent, straight ...[2]netip.Addr) {
	s.t.Helper()
	must(s.t, mesh.Await(s.t.Context(), 2*patience, func() error {
		before := s.flows()
		push(s.t, a, b, megabyte)
		push(s.t, b, a, megabyte)
		after := s.flows()
		var sum, hub uint64
		for f, n := range after {
			n := n.Bytes - before[f].Bytes
			if isHub(f.From) || isHub(f.To) {
				hub += n
				continue
			}
			for _, p := range straight {
				if f == (lab.Flow{From: p[0], To: p[1]}) || f == (lab.Flow{From: p[1], To: p[0]}) {
					sum += n
				}
			}
		}
		if hub > megabyte/10 || len(straight) > 0 && sum < 2*megabyte {
			return fmt.Errorf("of 2 MiB between %s and %s the core carried %d bytes straight, and %d to and from the hub", a.Host.Name, b.Host.Name, sum, hub)
		}
		return nil
	}))
}

// relayed pushes a megabyte and checks that the core saw it pass by the hub.
func (s *scene) relayed(a, b *mesh.Agent) {
	s.t.Helper()
	before := s.flows()
	push(s.t, a, b, megabyte)
	after := s.flows()
	var hub uint64
	for f, n := range after {
		if isHub(f.From) || isHub(f.To) {
			hub += n.Bytes - before[f].Bytes
		}
	}
	if hub < 2*megabyte {
		s.t.Errorf("of 1 MiB from %s to %s the core carried %d bytes to and from the hub, want it there and back", a.Host.Name, b.Host.Name, hub)
	}
}

func (s *scene) flows() map[lab.Flow]lab.Count {
	s.t.Helper()
	f, err := s.Lab.Flows()
	must(s.t, err)
	return f
}

func isHub(a netip.Addr) bool { return a == mesh.HubAddr || a == hub6 }

// stream is a ping through the mesh that runs until it is asked for its silence.
type stream struct {
	t    *testing.T
	out  bytes.Buffer
	done chan error
	end  context.CancelFunc
}

// pingEvery is how fine silence is measured.
const pingEvery = 50 * time.Millisecond

// settled is how long a path has been in use when nobody doubts it any more, and no
// data goes by the hub besides.
const settled = 2 * time.Second

// stream starts to ping one member from another, over a path that is settled at both.
func (s *scene) stream(from, to *mesh.Agent) *stream {
	s.t.Helper()
	for _, ends := range [][2]*mesh.Agent{{from, to}, {to, from}} {
		must(s.t, mesh.Await(s.t.Context(), 2*patience, func() error {
			p, err := ends[0].Peer(s.t.Context(), ends[1].Host.Name)
			if err == nil && (p.Path != "direct" || time.Since(p.Since) < settled) {
				err = fmt.Errorf("the path of %s to %s is %s (%s) since %v", ends[0].Host.Name, p.Name, p.Path, p.Reason, p.Since)
			}
			return err
		}))
	}
	p := s.ping(from, to)
	must(s.t, from.AwaitPing(s.t.Context(), patience, to.Host.Name)) // some answers before the trouble
	return p
}

// ping starts to ping one member from another, whatever the path.
func (s *scene) ping(from, to *mesh.Agent) *stream {
	s.t.Helper()
	addr, err := from.Address(s.t.Context(), to.Host.Name)
	must(s.t, err)
	ctx, cancel := context.WithCancel(s.t.Context())
	p := &stream{t: s.t, done: make(chan error, 1), end: cancel}
	cmd := from.Host.Command(ctx, "ping", "-n", "-D", "-i", fmt.Sprint(pingEvery.Seconds()), addr)
	cmd.Stdout = &p.out
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) } // it prints what it holds back
	must(s.t, cmd.Start())
	go func() { p.done <- cmd.Wait() }()
	return p
}

// silence ends the pings and returns the longest time between two answers, and how
// many answers there were.
func (p *stream) silence() (longest time.Duration, answers int) {
	p.end()
	<-p.done // its status is the signal's
	var last float64
	for line := range strings.Lines(p.out.String()) {
		stamp, rest, ok := strings.Cut(strings.TrimPrefix(line, "["), "]")
		at, err := strconv.ParseFloat(stamp, 64)
		if !ok || err != nil || !strings.Contains(rest, "icmp_seq=") || !strings.Contains(rest, "ttl=") {
			continue
		}
		if answers++; answers > 1 {
			longest = max(longest, time.Duration((at-last)*float64(time.Second)))
		}
		last = at
	}
	return longest, answers
}

// bearable is the silence that a loaded machine is forgiven. What is measured is
// told besides.
const bearable = 10 * time.Second

// bears ends a stream and judges the silence in it.
func (p *stream) bears(what string) {
	p.t.Helper()
	longest, answers := p.silence()
	p.t.Logf("%s: longest silence %v in %d answers", what, longest.Round(time.Millisecond), answers)
	if answers < 2 || longest > bearable {
		p.t.Errorf("%s: %d answers with a silence of %v, want at most %v", what, answers, longest, bearable)
	}
}
