// Package mdns lets members of a mesh find each other on a LAN by multicast DNS
// (RFC 6762) and DNS-SD (RFC 6763), with no hub and no internet.
//
// It knows instance names, addresses and ports. It never knows whether whoever
// announces a name is who it seems: an answer is a hint where to send a probe,
// and the probe proves the rest.
//
//	member A                                              member B
//	announce  <instance of A>._meshd._udp.local  ---->    browse, each minute for 8 s
//	          SRV port, A, AAAA of this LAN               names: instance → key of A
//	browse                                       <----    announce  <instance of B>
//
// An instance name is 16 hex digits of HMAC-SHA256(secret of the mesh, day and
// key of the member): members compute each other's, strangers see a number that
// changes each day, and the host's name is the same number. Clocks may be two
// days apart.
//
// Below is grandcat/zeroconf, behind an interface of two methods and with its
// faults held off: a resolver serves one round only, its channel is drained to
// the end, nothing is changed in place but withdrawn and announced anew, not
// before its first announcements are out, always on named interfaces with named
// addresses; and who has gone is for a table here to notice. The goodbyes of
// services, which zeroconf keeps to itself, a socket of ours hears.
package mdns
