// Package netcfg is the host's network as the agent needs it: which addresses a
// peer may try to reach, whether a prefix is free, what the mesh's interface is
// to be, and when any of it changes.
//
// It knows interfaces, addresses and routes of the operating system. It never
// knows peers, meshes, keys or the coordinator, and touches nothing but the one
// interface it is told to configure.
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
// The pure parts (candidates.go, gateways.go, metered.go, overlap.go, prefixes.go, clock.go) compile
// everywhere; netlink only in _linux.go files. On other systems [New] returns a
// host whose every method says that it is not supported.
package netcfg
