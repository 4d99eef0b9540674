// Package dnssd is the open side of a mesh: its names, the endpoints of its
// members and their services, by DNS and DNS-SD (RFC 6763), so that any DNS tool
// can see and use them.
//
// It knows records, questions, updates and the keys that sign them. It never
// knows what a mesh is, who is its member, or how a path is found: members come
// in by [Zone.Set], and the questions of trust (who may ask, whose key, where an
// update is stored) are functions of [ServerConfig].
//
//	coordinator, agents                        anyone with a DNS tool
//	       |                                          |
//	 Set, Remove, Replace                  UDP, TCP   |   Exchange (over the control connection)
//	       v                                          v
//	.---- Zone ------------------.   question   .--- Server -------------------------.
//	| members → records          | <----------- | signature? who asks? how large?    |
//	| names   → answers          | -----------> | Access, Secret                     |
//	| (read without a lock)      |   records    |                                    |
//	'----------------------------'              | UPDATE: prerequisites, own names,  |
//	       ^                                    |         a whole Publication        |
//	       |                                    '------------------------------------'
//	       |                                          |                 |
//	       '------ the coordinator stores it <---- Publish            Asked → punch
//
// # The zone
//
//	meshd.internal                              SOA, NS, A, AAAA
//	nas.meshd.internal                          A, AAAA: overlay addresses
//	7.0.96.100.in-addr.arpa                     PTR nas.meshd.internal
//	_services._dns-sd._udp.meshd.internal       PTR _wireguard._udp.meshd.internal …
//	_wireguard._udp.meshd.internal              PTR <key>._wireguard._udp.meshd.internal
//	<key>._wireguard._udp.meshd.internal        SRV 0 0 41641 <itself>, A or AAAA, TXT txtvers= pub= allowed= …
//	_cand.<key>._wireguard._udp.meshd.internal  TXT "c0=host 192.168.1.5:41641" "c1=reflexive 203.0.113.9:41641", and traits
//	_http._tcp.meshd.internal                   PTR Files on nas._http._tcp.meshd.internal
//	Files on nas._http._tcp.meshd.internal      SRV 0 0 8080 nas.meshd.internal, TXT
//	printer.nas.meshd.internal                  A: a host of nas's LAN that a service of its names
//
// The peers' form is wgsd's, to the letter, as its client is strict: it asks for
// the key in upper case with padding, takes the first additional record for the
// address, and speaks no EDNS. So names compare without case and answers repeat
// the question's spelling (which lets them compress); a SRV record never goes
// without its address, address comes before text, EDNS last; and what must be
// below 512 bytes loses its text first. Peers without an endpoint don't appear.
//
// One message holds about 900 entries of a list. A larger list is cut, and says
// so by its TC bit; asking for one name always works.
//
// # Updates
//
// A member registers itself by one DNS UPDATE (RFC 2136), signed with a TSIG key
// of its own (RFC 8945): [Registration] makes it, and nsupdate with [Key.File]
// does as well. It is decided purely, from the message and the member's present
// records to a [Publication] or an RCODE, and then published whole or not at all.
//
// Both may write for one member. A registration replaces endpoint and candidates,
// so one that nsupdate wrote lasts until the agent registers anew; it leaves text
// alone, and all services but those that it names. Endpoints, candidates and
// services of a member that is offline are kept, and not shown.
package dnssd
