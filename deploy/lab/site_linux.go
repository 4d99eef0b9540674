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
	LAN    netip.Prefix // the gateway takes its first address; none: no IPv4
	LAN6   netip.Prefix // routed as it is, behind a stateful firewall; none: no IPv6
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
	// Isolated keeps the hosts of the LAN from each other, as the network of a
	// provider does, and of a hotel.
	Isolated bool
}

// Site is a LAN behind a gateway.
type Site struct {
	Gateway   *Host
	LAN, LAN6 netip.Prefix
	lab       *Lab
	bridge    string // the gateway's interface to the LAN
	isolated  bool
	hosts     int
}

// Site adds a gateway with an empty LAN behind it.
func (l *Lab) Site(name string, g Gateway) (*Site, error) {
	gw, err := l.boot(name)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	if g.Public.IsValid() {
		addrs = append(addrs, g.Public)
	}
	if gw.wan, err = l.attach(gw, g.Link, newTranslators(g.Translate, g.Public), addrs...); err != nil {
		return nil, err
	}
	if g.NAT != "" && len(g.Translate) > 0 {
		if err := gw.ip(fmt.Sprintf("addr add %s/32 dev %s", access(1), wanName)); err != nil {
			return nil, err
		}
	}
	if g.LAN6.IsValid() {
		if err := l.core.ip(route(g.LAN6, gw.wan)); err != nil {
			return nil, err
		}
	}
	return l.site(gw, g)
}

// Site adds a gateway to the LAN with a LAN of its own behind it: a home whose
// provider has a NAT, too. Of g count the LAN, the NAT and the rules.
func (s *Site) Site(name string, g Gateway) (*Site, error) {
	gw, err := s.lab.boot(name)
	if err != nil {
		return nil, err
	}
	if err := s.Plug(gw, wanName); err != nil {
		return nil, err
	}
	if err := s.Route(gw, wanName); err != nil {
		return nil, err
	}
	return s.lab.site(gw, g)
}

func (l *Lab) site(gw *Host, g Gateway) (*Site, error) {
	s := &Site{Gateway: gw, LAN: g.LAN, LAN6: g.LAN6, lab: l, bridge: "lan0", isolated: g.Isolated}
	if err := s.open(); err != nil {
		return nil, err
	}
	return s, gw.Forward(g.rules())
}

// VLAN adds a LAN behind the same gateway. It lets nothing pass between the two.
func (s *Site) VLAN(bridge string, lan netip.Prefix) (*Site, error) {
	v := &Site{Gateway: s.Gateway, LAN: lan, lab: s.lab, bridge: bridge}
	return v, v.open()
}

// open makes the gateway's end of the LAN. What stays on the LAN is none of the
// gateway's business, whatever the machine wants of its own bridges.
func (s *Site) open() error {
	lines := fmt.Sprintf("link add %[1]s type bridge mcast_snooping 0\nlink set %[1]s up\n", s.bridge)
	for _, p := range []netip.Prefix{s.LAN, s.LAN6} {
		if p.IsValid() {
			lines += fmt.Sprintf("addr add %s/%d dev %s%s\n", first(p), p.Bits(), s.bridge, nodad(p.Addr()))
		}
	}
	if err := s.Gateway.ip(lines); err != nil {
		return err
	}
	return s.Gateway.sysctl("0", "bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables")
}

func first(p netip.Prefix) netip.Addr { return p.Masked().Addr().Next() }

// address is what the nth host of the LAN gets of a prefix.
func address(p netip.Prefix, n int) netip.Addr {
	a := first(p)
	for range n {
		a = a.Next()
	}
	return a
}

func (g Gateway) rules() string {
	rules := firewall6 + walls
	if g.NAT == "" {
		return rules
	}
	out, input := "", "drop"
	if g.Only != "" {
		out = g.Only
	}
	if g.Input != "" {
		input = g.Input
	}
	return rules + fmt.Sprintf(`
table ip gateway {
	chain forward {
		type filter hook forward priority 0; policy drop;
		ct state established,related accept
		iifname "lan*" oifname wan0 %s accept
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

// walls stand between the LANs of a gateway.
const walls = `
table ip walls {
	chain forward {
		type filter hook forward priority 0;
		iifname "lan*" oifname "lan*" drop
	}
}`

// firewall6 is what home routers do for IPv6 (RFC 6092): nothing comes in that
// nobody asked for.
const firewall6 = `
table ip6 gateway {
	chain forward {
		type filter hook forward priority 0; policy drop;
		ct state established,related accept
		iifname "lan*" oifname wan0 accept
	}
}`

// Host adds a host to the site's LAN.
func (s *Site) Host(name string) (*Host, error) {
	h, err := s.lab.boot(name)
	if err != nil {
		return nil, err
	}
	h.site = s
	if err := s.Plug(h, "eth0"); err != nil {
		return nil, err
	}
	return h, s.Route(h, "eth0")
}

// Plug puts one more interface of a host into the LAN. Only what is for the LAN
// leaves by it until [Site.Route].
func (s *Site) Plug(h *Host, ifname string) error {
	s.hosts++
	port := fmt.Sprintf("%s-%d", s.bridge, s.hosts)
	if err := veth(s.Gateway, port, h, ifname); err != nil {
		return fmt.Errorf("plug %s in: %w", h.Name, err)
	}
	plug := fmt.Sprintf("link set %s master %s up\n", port, s.bridge)
	if s.isolated {
		plug += fmt.Sprintf("link set %s type bridge_slave isolated on\n", port)
	}
	if err := s.Gateway.ip(plug); err != nil {
		return err
	}
	lines := fmt.Sprintf("link set %s up\n", ifname)
	for _, p := range []netip.Prefix{s.LAN, s.LAN6} {
		if p.IsValid() {
			lines += fmt.Sprintf("addr add %s/%d dev %s%s\n", address(p, s.hosts), p.Bits(), ifname, nodad(p.Addr()))
		}
	}
	return h.ip(lines)
}

// Route makes an interface in this LAN a host's way to everything else, in place of
// any other.
func (s *Site) Route(h *Host, ifname string) error {
	lines := ""
	for _, p := range []netip.Prefix{s.LAN, s.LAN6} {
		if p.IsValid() {
			lines += fmt.Sprintf("route replace default via %s dev %s\n", first(p), ifname)
		}
	}
	return h.ip(lines)
}

// ForgetMappings makes the gateway and its translators lose their connection
// tracking, as a reboot does.
func (s *Site) ForgetMappings() error {
	if k := s.Gateway.wan; k != nil {
		for _, t := range k.nats {
			t.reboot()
		}
	}
	return s.Gateway.Shell("conntrack -F")
}

// Readdress moves a host to another address of its LAN, in one breath.
func (h *Host) Readdress(addr netip.Addr) error {
	return h.ip(fmt.Sprintf("addr flush dev eth0\naddr add %s/%d dev eth0\nroute add default via %s", addr, h.site.LAN.Bits(), first(h.site.LAN)))
}
