package lab

import (
	"fmt"
	"net/netip"

	"meshd/punch/nattest"
)

// NAT is what a site's gateway does to packets on their way to the core: a set
// of nftables rules over its interfaces lan0 and wan0.
type NAT string

// Kinds of gateway, all of them Linux's own NAT. Filtering is by address and
// port everywhere, since that is what connection tracking does.
const (
	// PortRestricted keeps the inner port for every destination while it can:
	// endpoint-independent mapping in all that matters to a hole puncher.
	PortRestricted NAT = `masquerade`
	// Symmetric draws a random port for each destination.
	Symmetric NAT = `masquerade fully-random`
	// SymmetricBlock draws from 1024 ports that it keeps for this site, as carriers do.
	SymmetricBlock NAT = `meta l4proto udp masquerade to :10240-11263 fully-random
		oifname wan0 masquerade`
)

// Gateway describes a site's gateway.
type Gateway struct {
	Public netip.Addr
	LAN    netip.Prefix // the gateway takes its first address
	NAT    NAT          // of the gateway's own kernel; empty: Translate does it
	// Translate are NATs in this process that stand between the gateway and the
	// core, from the gateway outwards. Each is a hop. Behind a NAT of the gateway's
	// own they are its provider's.
	Translate []nattest.NAT
	Link      Delay
	// Only, unless empty, is an nftables match: nothing else gets out, not even
	// to the gateway's resolver. Example: "tcp dport 443".
	Only string
	// Input is the fate of packets to the gateway itself: drop (the default),
	// accept or reject.
	Input string
}

// Site is a LAN behind a gateway.
type Site struct {
	Gateway *Host
	LAN     netip.Prefix
	lab     *Lab
	hosts   int
}

// Site adds a gateway with an empty LAN behind it.
func (l *Lab) Site(name string, g Gateway) (*Site, error) {
	gw, err := l.boot(name)
	if err != nil {
		return nil, err
	}
	if gw.wan, err = l.attach(gw, g.Link, newTranslators(g.Translate, g.Public), g.Public); err != nil {
		return nil, err
	}
	if g.NAT != "" && len(g.Translate) > 0 {
		if err := gw.Shell(fmt.Sprintf("ip addr add %s/32 dev %s", access(1), wanName)); err != nil {
			return nil, err
		}
	}
	s := &Site{Gateway: gw, LAN: g.LAN, lab: l}
	if err := gw.Shell(fmt.Sprintf("ip link add lan0 type bridge\nip addr add %s/%d dev lan0\nip link set lan0 up", s.first(), g.LAN.Bits())); err != nil {
		return nil, err
	}
	return s, gw.Forward(g.rules())
}

func (s *Site) first() netip.Addr { return s.LAN.Masked().Addr().Next() }

func (g Gateway) rules() string {
	if g.NAT == "" {
		return ""
	}
	out, input := "", "drop"
	if g.Only != "" {
		out = g.Only
	}
	if g.Input != "" {
		input = g.Input
	}
	return fmt.Sprintf(`
table ip gateway {
	chain forward {
		type filter hook forward priority 0; policy drop;
		ct state established,related accept
		iifname lan0 oifname wan0 %s accept
	}
	chain input {
		type filter hook input priority 0;
		ct state established,related accept
		iifname wan0 %s
	}
	chain postrouting {
		type nat hook postrouting priority 100;
		oifname wan0 %s
	}
}`, out, input, g.NAT)
}

// Host adds a host to the site's LAN.
func (s *Site) Host(name string) (*Host, error) {
	h, err := s.lab.boot(name)
	if err != nil {
		return nil, err
	}
	h.site = s
	s.hosts++
	port := fmt.Sprintf("port%d", s.hosts)
	if err := veth(s.Gateway, port, h, "eth0"); err != nil {
		return nil, fmt.Errorf("plug %s in: %w", name, err)
	}
	if err := s.Gateway.Shell(fmt.Sprintf("ip link set %s master lan0 up", port)); err != nil {
		return nil, err
	}
	addr := s.first()
	for range s.hosts {
		addr = addr.Next()
	}
	return h, h.Shell(fmt.Sprintf("ip link set eth0 up\nip addr add %s/%d dev eth0\nip route add default via %s", addr, s.LAN.Bits(), s.first()))
}

// ForgetMappings makes the gateway and its translators lose their connection
// tracking, as a reboot does.
func (s *Site) ForgetMappings() error {
	for _, t := range s.Gateway.wan.nats {
		t.reboot()
	}
	return s.Gateway.Shell("conntrack -F")
}

// Readdress moves a host to another address of its LAN, in one breath.
func (h *Host) Readdress(addr netip.Addr) error {
	return h.Shell(fmt.Sprintf("ip addr flush dev eth0\nip addr add %s/%d dev eth0\nip route add default via %s", addr, h.site.LAN.Bits(), h.site.first()))
}
