package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"meshd/agent/localapi"
	"meshd/agent/tunnel"
	"meshd/punch"
	"meshd/punch/wire"
)

// Why implements [localapi.Backend].
func (a *Agent) Why(_ context.Context, name string) (localapi.Why, error) {
	v := a.view.Load()
	p, err := v.find(name)
	if err != nil {
		return localapi.Why{}, err
	}
	return whyView(p, v.plane.punch.Status()), nil
}

// find returns the peer of a mesh that is up.
func (v *view) find(name string) (Peer, error) {
	if v.plane == nil {
		return Peer{}, localapi.WithHint(fmt.Errorf("the mesh is not up (%s)", v.state), "`meshd status` tells why")
	}
	p, ok := v.netmap.Find(name)
	switch {
	case ok:
		return p, nil
	case v.netmap.Self.is(name):
		return Peer{}, localapi.WithHint(fmt.Errorf("%s is this machine", name), "`meshd peers` lists the others")
	}
	return Peer{}, localapi.WithHint(fmt.Errorf("there is no peer %q", name), "`meshd peers` lists them")
}

// whyView puts together what is known of the path to a peer.
func whyView(p Peer, s punch.Status) localapi.Why {
	path := s.Peers[p.Key]
	nat := path.NAT
	if nat == (wire.NAT{}) {
		nat = p.NAT
	}
	c := pair{name: p.Name, online: p.Online, plain: p.Plain, self: s.Local, peer: nat, candidates: p.Candidates, hub: s.Hub.Via, path: path}
	peer := peerStatus(p, path, tunnel.Stats{})
	w := localapi.Why{
		Peer: p.Name, Path: peer.Path, Relay: peer.Relay, Endpoint: peer.Endpoint, Since: peer.Since, Reason: peer.Reason, RTT: peer.RTT, MTU: peer.MTU, Singly: peer.Singly,
		SelfNAT: selfView(s.Local, s.Hub), PeerNAT: natView(nat), Crossing: punch.Cross(s.Local.NAT, nat).String(),
		Attempts: []localapi.Attempt{},
	}
	w.Verdict, w.Advice = c.verdict()
	for _, a := range path.Attempts {
		w.Attempts = append(w.Attempts, attemptView(a))
	}
	return w
}

func attemptView(a punch.Attempt) localapi.Attempt {
	v := localapi.Attempt{
		At: a.At, Took: ms(a.Took), Cause: a.Why, Verdict: a.Verdict,
		Strategy: a.Strategy, Spent: a.Spent, Sockets: a.Sockets, Tried: []localapi.Tried{},
	}
	for _, t := range a.Tried {
		v.Tried = append(v.Tried, localapi.Tried{Addr: t.Addr, Kind: t.Kind.String(), Probes: t.Probes, Heard: t.Heard, RTT: ms(t.RTT)})
	}
	return v
}

// pair is all that decides whether this machine and a peer reach each other
// directly.
type pair struct {
	name       string // of the peer
	online     bool
	plain      bool // it runs WireGuard, and nothing of ours
	self       punch.Local
	peer       wire.NAT
	candidates []wire.Candidate // the peer's
	hub        punch.Via        // how the relay is reached from here
	path       punch.PeerStatus
}

// Advice that several verdicts share.
const (
	mapAPort = "switch on UPnP, NAT-PMP or PCP in the gateway here or at %s, or forward a UDP port there and tell it with --advertise-endpoint"
	lookAt   = "have the firewalls of this machine and of %s let in UDP from addresses that they sent to"
)

// verdict says why the pair is connected the way it is, and, unless that is
// directly, the one thing that would make it so.
func (p pair) verdict() (why, advice string) {
	switch {
	case p.path.Path == punch.ViaDirect && p.path.Class == "lan":
		return "direct within the same network", ""
	case p.path.Path == punch.ViaDirect:
		return "direct" + p.crossed(), ""
	case p.plain:
		return p.name + " runs WireGuard without meshd, and the hub has not heard a handshake of it lately",
			"switch WireGuard on there, with what this prints on the hub: meshd coordinator client config " + p.name
	case !p.online:
		return p.name + " is offline", "start it there: meshd up"
	case p.hub == punch.ViaNone && p.path.Path == punch.ViaNone:
		return "the hub's relay is not reached, so " + p.name + " can't be told where this machine is", "check this machine's internet connection: meshd netcheck"
	case p.hub == punch.ViaTLS:
		return "UDP does not get out of the network of this machine", "have its firewall let UDP out"
	case p.path.Reason == punch.NoData:
		return "probes pass between here and " + p.name + ", but WireGuard's packets are dropped on the way: some network knows them by their shape, or a firewall at one end lets in no answers",
			fmt.Sprintf(lookAt, p.name) + ", or use another network; the relay hides their shape, and carries them until then"
	case !outside(p.candidates):
		return p.name + " was never seen by UDP from outside its network: it is blocked there", "have the firewall of " + p.name + "'s network let UDP out"
	}
	return p.failed()
}

// crossed says how the path came about, where that was not the plain way.
func (p pair) crossed() string {
	if n := len(p.path.Attempts); n > 0 && p.path.Attempts[n-1].Strategy != "" {
		a := p.path.Attempts[n-1]
		if a.Strategy == punch.NewSockets {
			return ", by new ports: a gateway on the way holds the usual ones for its own, for a while"
		}
		return fmt.Sprintf(", across a symmetric NAT (%s, %d probes)", a.Strategy, a.Spent)
	}
	return ""
}

// failed judges attempts without success.
func (p pair) failed() (why, advice string) {
	crossing := punch.Cross(p.self.NAT, p.peer)
	attempts := p.path.Attempts
	switch {
	case crossing == punch.CrossNever:
		return "both NATs give another public port for each destination, and " + p.random() + " picks it at random: neither side can be told where to send",
			fmt.Sprintf(mapAPort, p.name)
	case len(attempts) == 0:
		return "nobody has tried yet: nothing was to be sent", "meshd ping " + p.name
	}
	last := attempts[len(attempts)-1]
	switch {
	case last.Verdict == "running":
		return "an attempt is under way", "wait a few seconds"
	case slices.ContainsFunc(last.Tried, func(t punch.Tried) bool { return t.Heard }):
		return "packets of " + p.name + " arrive here, but it does not get ours", fmt.Sprintf(lookAt, p.name)
	case crossing == punch.CrossSearched && last.Strategy == "":
		return "one NAT picks ports at random, and has not been searched lately: that is done seldom, to spare routers", fmt.Sprintf(mapAPort, p.name)
	case crossing == punch.CrossSearched:
		spent := fmt.Sprintf("%d probes", last.Spent)
		if last.Sockets > 0 {
			spent += fmt.Sprintf(", %d sockets", last.Sockets)
		}
		return fmt.Sprintf("one NAT picks ports at random, and the search did not meet one (%s)", spent),
			fmt.Sprintf(mapAPort, p.name)
	case crossing == punch.CrossPredicted:
		return "the ports of a symmetric NAT were not where they were predicted: others use it, too", fmt.Sprintf(mapAPort, p.name)
	case crossing == punch.CrossPlain && !p.self.MappingSure:
		return "nothing came through, perhaps because the NAT here gives another public port for each address: that is not known, for the hub has one address, and no member could tell",
			"have a member without NAT in the mesh (one more, if there is one), or give the hub a second address: it is known then, and crossed"
	case crossing == punch.CrossPlain:
		return "the two NATs could be crossed, but nothing came through: a firewall on the way drops UDP between them", fmt.Sprintf(lookAt, p.name)
	}
	return "nothing came through, and too little is known of the NATs to tell why", fmt.Sprintf(mapAPort, p.name)
}

// random names whose NAT it is.
func (p pair) random() string {
	mine, its := p.self.NAT.Allocation == wire.Random, p.peer.Allocation == wire.Random
	switch {
	case mine && its:
		return "each"
	case its:
		return "that of " + p.name
	}
	return "the one here"
}

// outside reports whether some address leads out of the peer's own network.
func outside(cs []wire.Candidate) bool {
	return slices.ContainsFunc(cs, func(c wire.Candidate) bool {
		return c.Kind != wire.Host || !private(c.Addr.Addr())
	})
}

func private(a netip.Addr) bool { return a.IsPrivate() || shared.Contains(a) || a.IsLinkLocalUnicast() }
