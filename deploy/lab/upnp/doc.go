// Package upnp makes the gateway of a lab's site a router that maps ports when
// asked to: by PCP, NAT-PMP and UPnP IGD, with miniupnpd as it runs on real ones.
//
//	host ──ask──▶ miniupnpd on the gateway ──▶ table inet upnp: dnat, accept
//
// It knows the daemon, its configuration and its rules. Who asks is up to others.
// It needs Debian's package miniupnpd-nftables, and public addresses that are none
// of those for documentation (RFC 5737): behind these miniupnpd maps nothing.
package upnp
