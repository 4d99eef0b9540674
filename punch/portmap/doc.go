// Package portmap asks the gateways of this host to let datagrams in: it maps a
// UDP port on the outside to ours by PCP (RFC 6887), NAT-PMP (RFC 6886) or UPnP
// IGD, and opens pinholes in IPv6 firewalls by PCP or IGD 2. It renews what it
// got, notices when a gateway forgot it, and gives it back in the end.
//
// It knows gateways and one port. It never knows peers, paths, or how a host
// learns of its gateways: [Config.Gateways] tells it, and [Mapper.Refresh] says
// when to ask again.
//
//	           ┌ PCP      ANNOUNCE ──► present? ─┐
//	search ────┼ NAT-PMP  address  ──► present? ─┼─► ask the best ─► lease ─► Changed
//	           └ UPnP     SSDP     ──► present? ─┘   refused: the next   │
//	                                                                     ├ half life: renew
//	gateway's announcements (224.0.0.1:5350, ff02::1) ──► check ◄────────┤ every minute
//	                                                        │            └ context ends: remove
//	                                                        └ epoch went back, entry gone: ask again
//
// All protocols are searched at once. The first that answers is asked for a
// mapping, but for a short grace in which a better one may still answer; one that
// answers late is asked when those before it refused. One mapping a gateway is
// enough: PCP before NAT-PMP before UPnP.
//
// A gateway is believed as little as possible. Only its own address is ever
// connected to, whatever URL it names; answers are short and have deadlines; addresses at
// which nobody can be reached are refusals, and a mapping on a private or shared
// address, as behind carrier-grade NAT, is told but not trusted.
//
// [book] decides, purely: step(now, event) []action. [Mapper.Run] acts.
package portmap
