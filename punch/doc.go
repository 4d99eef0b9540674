// Package punch finds a direct path to every peer, keeps it, and moves the
// peers' WireGuard packets over the best way there is.
//
// It knows peers as 32-byte keys, their candidate addresses, and a relay. It
// never knows names (but for logs), overlay addresses, policy, the control
// protocol, or what WireGuard says: packets are opaque but for their shape.
//
//	tunnel ── Send ──► mux ─ way of the peer ─┬─► socket ─► peer           direct
//	                    ▲                     └─► socket or stream ─► relay ─► peer
//	                    │ atomic swap
//	                  loop ◄── events: probes, STUN, relay messages, timers, SetPeers …
//	                    │
//	                    ├─ path (one a peer)  pure: step(now, event) []action
//	                    │    ├─ attempt       when which candidate is probed
//	                    │    ├─ search        the way to a peer behind a hard NAT
//	                    │    ├─ watch         does the route in use still carry?
//	                    │    ├─ trial         does it carry WireGuard, or probes alone?
//	                    │    └─ legs          routes heard from, with their RTT
//	                    ├─ detour (one a peer) pure too: which relay carries what can't go directly
//	                    ├─ bundles            do several datagrams sent in one piece arrive?
//	                    ├─ sizing             how large a datagram each way to a peer carries
//	                    ├─ plain way (in place of a path) to a peer that runs WireGuard alone
//	                    ├─ hub                session with the relay: UDP, else a stream
//	                    ├─ extras             sockets that were opened for one peer
//	                    ├─ observer           our own addresses, as others see them
//	                    ├─ doors              probes that the host's firewall drops
//	                    └─ explorer           surveys of our NAT, with sockets of their own
//	                    ▲
//	tunnel ◄─ Receivers ─ mux ◄── sockets: WireGuard stays in place, the rest is for the loop
//
// The first packet to a peer never waits: it goes by relay. An authentic probe
// that comes over a route makes that route tentative, and data takes both ways;
// the PONG to a PING of our own confirms it, and data goes directly alone. When
// data goes out and nothing comes back, even after being asked, the route is
// suspect, and data takes both ways again, until it answers or is given up.
//
// Simultaneous opening fails against a NAT that maps by destination when the other
// end filters by port. Whether a NAT is such a one the hub tells, by its two ports
// and addresses; where it has one address, a peer does (see reflector). If the
// ports which such a NAT gives can be told beforehand (it preserves them, or
// counts), they are probed. If it takes them at random, it opens many sockets and
// the other end looks for one of them at a gentle pace: a birthday search, seldom
// and bounded (see budget). The socket that is found carries that peer's packets
// from then on.
//
// A firewall on this host that lets in nothing unasked is no filter to probes: they are
// heard before it, and the answer opens it (see openDoors).
//
// Two NATs that need none of this may be barred by what they remember of packets
// that they did not let in. Then new sockets are opened at both ends, and left again
// for the usual ones minutes later.
//
// Peers relay for one another, where they are reachable for anyone and both ends
// let them (see [Relaying]). The relay of a pair is then a peer that both have a
// direct path to, if it is quicker than the hub by a fifth, or if the hub is gone.
// There are no sessions with it: these paths prove who is where.
//
//	alice ── FORWARD to bob ──► nas ── DATA from alice ──► bob
//
// Where the kernel's WireGuard has the port, it sends to direct paths by itself.
// The engine says which these are ([Engine.Direct]) and is told what moved there.
// Two first handshakes that cross would both fail; so that one engine may hold one of
// them back they go in envelopes, past the kernel's WireGuard at the other end.
//
// One goroutine ([Engine.Run]) owns all state. Send and the receivers read
// snapshots through atomic pointers: no lock, no log, no allocation a packet.
package punch
