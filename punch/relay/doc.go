// Package relay forwards datagrams between members that can't reach each other
// directly, or not yet. It has both ends: the [Server], of which the hub runs one
// and members may, and the [Client] and [WSConn] of a member.
//
// It knows sessions: which relay id is bound to which source address or
// WebSocket, and who may send to whom (by asking its [Directory]). It never knows
// names, policies, WireGuard keys, or what is inside a datagram. The messages are
// those of punch/wire, whose doc.go draws them.
//
//	socket 0 ─┐                                    ┌─► socket n, UDP_SEGMENT
//	socket 1 ─┼─► read a batch ─► handler ─► outbox┼─► socket m
//	WebSocket ┘   (bundles)       decides   groups └─► queue ─► WebSocket
//	                                 │     by session
//	                                 ├─► reply (session message, STUN) from one socket
//	                                 └─► drop, counted
//
// # Sessions
//
// A UDP session is bound to the server's socket and the source address from which
// the ANSWER came: what is for its member leaves from that socket to that address.
// Before a valid ANSWER the server holds nothing: the cookie of a CHALLENGE is a
// MAC over time, socket, source, id and how often the id was bound, so an ANSWER
// is good for a minute, from one address, and not after a later bind.
//
// A WebSocket session is bound by whoever called [Server.ServeWebSocket] with the
// member's id (the hub: by the member's TLS certificate). A member may have both.
// It gets its datagrams by UDP, unless it was silent there for a minute or has
// itself been sending data by WebSocket since.
//
// # Bundles
//
// What came in a bundle leaves in one, unless its sender says that it must not:
// some systems lose bundles, and a relay hears nothing of what it sends.
//
// # In the kernel
//
// On Linux the server has the kernel forward flows that are busy, and what is answered
// (see punch/relay/inkernel): a bundle then costs no copy and wakes nobody. A flow is one
// way of a pair. Everything begins in user space, which alone knows who is bound and who
// may talk with whom.
//
//	forwarder ─► meter ── busy ──► offload ─► offloader ─► kernel
//	                              decides      acts      │ counters, and a packet of
//	handler ── a session ends, moves, has a WebSocket ─► │ each flow every other second
//	             forget, before anyone is told           ▼
//
// A flow is installed as long as user space would forward it in the same way: asked each
// second, and at once when a session changes. It ends after some idle seconds, or when its
// sender is not heard. What the kernel forwards is charged to the member's bucket here,
// too. A flow by loopback, a tunnel or WebSocket stays in user space, and so does one
// whose bundles have to be cut.
//
// # Bounds
//
// No reply is larger than its question: session messages have one size, a RESET is
// a bare header. STUN responses are larger by nature; they go out only to
// well-formed requests, and at a limited rate per source. State is bounded by the
// number of members. Nothing waits for a slow member: its WebSocket has a short
// queue that loses the oldest data first.
//
// # WebSocket
//
// Subprotocol "meshd.relay.v1", binary messages of up to 64 KiB, each any number of
//
//	length 2 | datagram
//
// so that a busy connection carries many datagrams a system call.
package relay
