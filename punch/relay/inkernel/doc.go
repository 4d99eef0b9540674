// Package inkernel has the Linux kernel forward a relay's busy flows: a packet comes in,
// its addresses and ports are exchanged for others, and it leaves, as the bundle that it
// came as, without a copy and without a process that wakes up.
//
// It knows addresses, the eight bytes that a flow's datagrams begin with, and the
// kernel's way of being told. It never knows members, sessions, epochs or who may talk
// with whom: what is installed is forwarded, until it is removed.
//
//	interface ─► program ── known? whole? fits? paid? ──► other addresses ─► interface
//	             (TCX)            │ no, or a sample                          of the route
//	                              ▼
//	                   the relay's socket, as if nothing were there
//
// [Table] holds the program and its two maps in the kernel: flows, and token buckets
// that flows share. The program is assembled here and needs no compiler. It sits on
// interfaces that installed flows come by, for as long as the table's descriptors are
// open: however this process ends, nothing of it stays.
//
// # What is forwarded
//
// UDP that the kernel has found to be for this host, untagged, in IPv4 without options
// or fragments or in IPv6 without extension headers, with a checksum. Source, destination,
// interface and first eight bytes must be a flow's, in each datagram of a bundle; what
// the way out can't carry in one piece stays. Whatever else comes takes its usual way.
// Every other second a packet of each flow does too: so the relay hears that its member
// lives, and the host's packet filter, which sees nothing of the rest, gets to say no.
//
// # What a stranger gains
//
// Nothing: who forges a member's source address and its flow's eight bytes is forwarded
// as user space would forward him, to the same peer, whose WireGuard throws it away. A
// member reaches nobody whom user space has not let it reach a moment ago. It is the
// caller's business to remove what was allowed once; see punch/relay.
package inkernel
