// Package wire encodes what meshd itself puts into UDP datagrams: probes
// between two agents, and the messages of a relay session.
//
// It knows byte layouts and the cryptography that belongs to them. It never
// knows a socket, a clock, a log or a peer's state: callers pass hours, keys
// and buffers in.
//
// Everything shares WireGuard's one UDP port, so the first question about a
// datagram is whose it is (see [KindOf]):
//
//	WireGuard   type 1..4, three zero bytes, a length that fits the type
//	probe       d1 'm' 's' 'h'
//	relay       d2
//	STUN        two zero bits, length % 4 == 0 and that of the datagram; cookie
//	            2112a442 at offset 4, or a Binding request of RFC 3489 without
//
// WireGuard is asked first: a receiver index may happen to equal the STUN
// cookie. The first byte of our own messages is above 0xc0, which RFC 7983
// leaves free of STUN, DTLS, TURN channels and RTP.
//
// # Probe
//
// Agent to agent, direct or inside a relay datagram; all integers big endian.
//
//	0       4          12          36                          n-16      n
//	| magic |   tag    |   nonce   |  sealed body              |  poly1305 |
//
// The body is sealed by XChaCha20-Poly1305 under keys, one a direction, which
// both ends derive from their WireGuard keys: the hub can neither read nor forge
// it, and a probe reflected to its sender opens for nobody. Magic and tag are
// authenticated with it. The tag is a MAC over the current hour and the sender's
// key: the receiver finds the sender by one map lookup, and strangers see no
// identifier that lasts.
//
//	body: type 1 | flags 1 | size 2 | boot 8 | seq 8 | txid 8 | sent 8 | generation 4 | observed 18 | ...
//
// PING, PONG and OPEN are [ProbeSize] bytes whatever they carry, so that no
// answer is larger than its question (a PING may be padded further, to probe an
// MTU). A CONNECT continues with the sender's NAT behaviour, candidates and port
// samples, and is padded to a multiple of 64 bytes; it travels by relay only.
// Flags turn it into a step of the search for a path through a NAT whose mapping
// depends on the destination:
//
//	seeker                                holder
//	  | CONNECT seek (its ports)  ------>   |  opens sockets towards the seeker
//	  | <------ CONNECT ready (their ports) |
//	  | PING to these, or to many ======>   |  the first one heard is the path
//
// # Relay
//
// Agent to relay and back.
//
//	0       1      2       4          8
//	| magic | type | epoch | relay id |  payload (DATA only)
//
// In DATA the relay id is the pair's, that of one end XOR that of the other (see
// [PairID]): each of the two, and the relay between them, knows one and so learns the
// other. A datagram thus leaves the relay as it came, which need not touch it, be it
// in a bundle or in the kernel. The type's highest bit has the relay pass it on by
// itself: bundles, which systems make of several datagrams that go the same way, are
// lost on some ways, and only who sends can find out. The payload is a WireGuard
// packet or a probe. Session messages (HELLO, CHALLENGE, ANSWER, WELCOME) are
// [SessionSize] bytes each, so nobody can be amplified at:
//
//	header 8 | nonce 8 | time 8 | observed 18 | cookie 16 | zero 6 | mac 16
//
//	agent                         relay
//	  | HELLO  (mac by the key      |
//	  |         from the control)   |   source already bound to this id?
//	  | --------------------------> |     yes: WELCOME at once (this is the keepalive)
//	  | <------------- CHALLENGE    |     no:  a cookie, a MAC over the source address
//	  | ANSWER (the cookie) ------> |   bound: DATA may follow the ANSWER at once
//	  | <--------------- WELCOME    |   observed = the source address seen
//
// RESET is a bare header: "this source is bound to nothing here". It is a hint
// to say HELLO again, never an order.
//
// A member that relays for others needs no session: it takes FORWARD, which is
// DATA under another type, from an address that answered a PING of its own, and
// passes it on as DATA, by the type alone another, to where it reaches the destination directly. Epoch is 0.
package wire
