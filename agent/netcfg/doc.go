// Package netcfg is the host's network as the agent needs it: which addresses a
// peer may try to reach, whether a prefix is free, what the mesh's interface is
// to be, how the host's programs find names, and when any of it changes.
//
// It knows interfaces, addresses, routes and the resolver of the operating system.
// It never knows peers, keys or the coordinator. A [Host] touches nothing but the
// one interface it is told to configure; a [Resolver] keeps a record of what it
// changes, so that any later process can put it back.
//
//	         netlink
//	            |
//	  Addresses | Gateways | Overlap             Configure  Remove
//	  links, addresses, default routes           have (kernel)   want (Config)
//	    -> usable(link, addr)                            \        /
//	                                                    difference: add, remove
//	Watch:  any change --> dirty --100 ms--> fingerprint (addresses, default routes)
//	                                           same? nothing. differs? one Event
//
//	Set(Names) --> the first way that the host has: systemd-resolved, NetworkManager,
//	               resolvconf, a block in the hosts file
//
// The pure parts (candidates.go, choose.go, clock.go, gateways.go, hostsfile.go, metered.go,
// overlap.go, prefixes.go, resolvconf.go) compile everywhere; netlink and D-Bus only
// in _linux.go files. On other systems [New] returns a host whose every method says
// that it is not supported.
package netcfg
