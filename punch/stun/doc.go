// Package stun asks, and answers, "which address do you see me at?": STUN
// Binding (RFC 8489) with NAT behaviour discovery (RFC 5780).
//
// It knows messages only. It never knows sockets, retransmission or rate limits:
// a request is answered by a pure function, and its caller sends the reply.
//
//	client  Request ──────────────► Respond  server, at local A1:P1, other A2:P2
//	        ParseResponse ◄──────── Reply    sent from A1:P1, or from A2 or P2 or
//	                                         both as CHANGE-REQUEST wished
//
// A success response carries XOR-MAPPED-ADDRESS (where the request came from),
// RESPONSE-ORIGIN (where the response is sent from) and, if the server has a
// second IP address, OTHER-ADDRESS (RFC 5780 §7.4 forbids it otherwise). Clients
// of RFC 3489, whose requests lack the magic cookie, get MAPPED-ADDRESS,
// SOURCE-ADDRESS and CHANGED-ADDRESS instead.
//
// A response is larger than its request by nature: 56 bytes to 20 over IPv4. So
// only well-formed Binding requests are answered, in [MaxReply] bytes at most,
// and servers have to limit the rate by source.
package stun
