package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// result is what became of a pair.
type result struct {
	row, column int
	want        way
	got         verdict
	toFirst     time.Duration // until the first of WireGuard's packets arrived straight at either; 0 unless direct
	toDirect    time.Duration // until one had at both
	toTalk      time.Duration // until pings were answered; 0 if that can't be seen, as by TLS
	probes      int           // sent straight to the other, not WireGuard's, until they were direct
	late        int           // sent straight after [quiet]
	signals     int           // sent to the other through the hub
	note        string        // what meshd says of a pair that is not as wanted
	err         error         // the pair could not be tried
}

func (r result) asWanted() bool { return r.err == nil && r.got == r.want.verdict() }

// Public addresses of a pair.
var (
	aliceAddr = netip.MustParseAddr("198.51.100.10")
	bobAddr   = netip.MustParseAddr("198.51.100.20")
	// The hub has a second address, to tell what NATs do by address.
	secondHubAddr = netip.MustParseAddr("203.0.113.2")
)

// member is what both of a pair run.
type member struct {
	bin     string
	backend string // "": meshd chooses
}

// pair is an internet with a hub and two agents.
type pair struct {
	lab        *lab.Lab
	hub        *mesh.Hub
	alice, bob *mesh.Agent
	trace      *trace
}

// run has two kinds meet, and judges. What everybody logged and sent is put into a
// folder of logs, if one is named.
func run(ctx context.Context, m member, row, column int, logs string) result {
	r := result{row: row, column: column, want: want(row, column)}
	p, err := newPair(m, kinds[row], kinds[column])
	if err != nil {
		r.err = err
		return r
	}
	defer p.lab.Close()
	r.err = p.meet(ctx, &r)
	if logs != "" {
		r.err = errors.Join(r.err, p.save(filepath.Join(logs, fmt.Sprintf("%s x %s", kinds[row].name, kinds[column].name))))
	}
	return r
}

func newPair(m member, a, b kind) (*pair, error) {
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	p := &pair{lab: l, trace: &trace{addrs: [2]netip.Addr{aliceAddr, bobAddr}}}
	if err := p.build(m, a, b); err != nil {
		l.Close()
		return nil, err
	}
	return p, nil
}

func (p *pair) build(m member, a, b kind) error {
	host, err := p.lab.Public("hub", hubLink, mesh.HubAddr, secondHubAddr)
	if err != nil {
		return err
	}
	p.hub = mesh.NewHub(host, m.bin)
	alice, linkA, err := a.place(p.lab, "alice", aliceAddr, m.bin)
	if err != nil {
		return err
	}
	bob, linkB, err := b.place(p.lab, "bob", bobAddr, m.bin)
	if err != nil {
		return err
	}
	p.alice, p.bob = alice, bob
	alice.Backend, bob.Backend = m.backend, m.backend
	linkA.Watch(p.trace.end(0))
	linkB.Watch(p.trace.end(1))
	return nil
}

// hubUDP is two ports on each of the hub's addresses.
func hubUDP() string {
	var addrs []string
	for _, a := range []netip.Addr{mesh.HubAddr, secondHubAddr} {
		for _, port := range []uint16{3478, 3479} {
			addrs = append(addrs, netip.AddrPortFrom(a, port).String())
		}
	}
	return strings.Join(addrs, ",")
}

// meet starts the hub and alice, and then bob. Each pings the other's address until
// the end: so whoever has a way first has something to send.
func (p *pair) meet(ctx context.Context, r *result) error {
	if err := p.hub.Start(ctx, "--public", mesh.HubAddr.String(), "--udp", hubUDP()); err != nil {
		return err
	}
	if err := p.join(ctx, p.alice); err != nil {
		return err
	}
	alice, err := p.overlay(ctx)
	if err != nil {
		return err
	}
	bob := alice.Next() // members get addresses in turn
	for from, to := range map[*mesh.Agent]netip.Addr{p.alice: bob, p.bob: alice} {
		stop, err := keepPinging(ctx, from, to)
		if err != nil {
			return err
		}
		defer stop()
	}
	if err := p.join(ctx, p.bob); err != nil {
		return err
	}
	if err := p.await(ctx, r); err != nil {
		return err
	}
	return p.measure(ctx, r)
}

// The traffic, and how much of it must be seen one way in a while of measuring:
// half of what is sent.
const (
	pingEvery = 20 * time.Millisecond
	pingSize  = 1000
	measure   = 1500 * time.Millisecond
	least     = uint64(pingSize * (measure / pingEvery) / 2)
	// patienceForSilence outlasts two handshakes of WireGuard that were lost.
	patienceForSilence = 12 * time.Second
)

func (p *pair) join(ctx context.Context, a *mesh.Agent) error {
	key, err := p.hub.Join(ctx, "--approved")
	if err != nil {
		return err
	}
	_, err = a.Up(ctx, key)
	return err
}

// overlay is alice's address in the mesh.
func (p *pair) overlay(ctx context.Context) (netip.Addr, error) {
	out, err := p.alice.Command(ctx, "ip", "-4")
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(out)
}

// keepPinging has a host ping an address, which need not be there yet, until stopped.
func keepPinging(ctx context.Context, from *mesh.Agent, to netip.Addr) (stop func(), err error) {
	ping := from.Host.Command(ctx, "ping", "-q", "-i", fmt.Sprint(pingEvery.Seconds()), "-s", fmt.Sprint(pingSize), to.String())
	if err := ping.Start(); err != nil {
		return nil, fmt.Errorf("ping: %w", err)
	}
	return func() {
		ping.Process.Kill()
		ping.Wait()
	}, nil
}

// await gives the pair its time: until it is direct, or until its patience ends.
func (p *pair) await(ctx context.Context, r *result) error {
	err := mesh.Await(ctx, 10*time.Second, func() error {
		if p.trace.askedAt().IsZero() && r.want != tls { // one without UDP asks by TCP
			return errors.New("neither agent has sent the other anything")
		}
		return nil
	})
	if err != nil {
		return err
	}
	over := errors.New("not direct")
	err = mesh.Await(ctx, r.want.patience(), func() error {
		one, both, ok := p.trace.toDirect()
		if !ok {
			return over
		}
		r.toFirst, r.toDirect = one, both
		return nil
	})
	if errors.Is(err, over) {
		return ctx.Err()
	}
	return err
}

// measure judges by the traffic of a while, and counts what was spent. A pair that
// is silent has more time to begin: WireGuard repeats a lost handshake after 5 s.
func (p *pair) measure(ctx context.Context, r *result) error {
	var alice, bob sent
	for end := time.Now().Add(patienceForSilence); time.Now().Before(end) && (r.got == "" || r.got == silence); {
		before, err := readFlows(p.lab)
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(measure):
		}
		after, err := readFlows(p.lab)
		if err != nil {
			return err
		}
		alice = outward(before, after, aliceAddr, bobAddr, mesh.HubAddr)
		bob = outward(before, after, bobAddr, aliceAddr, mesh.HubAddr)
		r.got = judge(alice, bob, least)
	}
	r.toTalk = p.trace.toTalk()
	r.probes, r.late, r.signals = p.trace.spent()
	if !r.asWanted() {
		r.note = fmt.Sprintf("%s; alice sent %+v, bob %+v", p.words(ctx), alice, bob)
	}
	return nil
}

// words is what the two agents say of each other.
func (p *pair) words(ctx context.Context) string {
	say := func(of *mesh.Agent, name string) string {
		peer, err := of.Peer(ctx, name)
		if err != nil {
			return err.Error()
		}
		return peer.Path + ": " + peer.Reason
	}
	return fmt.Sprintf("alice says %q, bob says %q", say(p.alice, "bob"), say(p.bob, "alice"))
}

// save keeps everybody's log, and the packets that were seen.
func (p *pair) save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"hub": p.hub.Log(), "alice": p.alice.Log(), "bob": p.bob.Log(), "packets": p.trace.told()} {
		if err := os.WriteFile(filepath.Join(dir, name+".log"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
