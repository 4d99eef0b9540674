// Package filter decides which packets from the mesh may come in: what answers
// something that went out, and what begins something that rules let begin.
//
// It knows the headers of IPv4, IPv6, TCP, UDP and ICMP, and remembers what went
// out. It never knows peers, keys, interfaces or who wrote the rules, and it has no
// clock of its own.
//
//	to the mesh  ───► Sent ─────► remember the flow
//	                                   │
//	from the mesh ──► Admits ──► does it begin something?
//	                                   │ no: let it in
//	                                   ▼ yes
//	                             is there a rule for it, or is it of a flow
//	                             that went out a while ago?
//
// # What begins something
//
//   - TCP: a segment with SYN and without ACK. Others belong to a connection, or
//     are refused by the host's TCP, which has none.
//   - ICMP: a question (an echo, for one). Errors and answers don't.
//   - Anything else, UDP above all, unless a packet with the same addresses,
//     protocol and ports went the other way within [Memory].
//
// Fragments after the first begin nothing: without the first they are of no use. A
// first fragment that is too short to be judged is refused (RFC 1858).
package filter
