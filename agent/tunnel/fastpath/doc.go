// Package fastpath seals and opens WireGuard's transport packets where they lie,
// in the goroutine that read them.
//
// It knows WireGuard's transport messages (section 5.4.6 of its paper), and
// package device of wireguard-go from the inside. It never makes a handshake, a
// cookie or a key, and keeps no timer: those stay with the unmodified device,
// which runs behind it and sees everything that is not a transport packet.
//
//	kernel TUN                                          transport
//	    | ReadFrames: superpackets                          | Views: bundles, lent
//	    v                                                   v
//	outbound: segment, whose is the address?        inbound: whose is the index?
//	    | session              | none yet               | transport    | handshake,
//	    v                      v                        v              v cookie
//	seal into the arena     gate (a tun.Device)      open in place   Receivers
//	    |                      |                        | replay?      |
//	    v                      +------> device <--------|--------------+
//	Transport.Send <-- bind <------------+              | inner source?
//	                                                    v
//	                                              admitted by the filter?
//	                                                    v
//	                                                 coalesce, writev to the TUN
//
// There is one outbound goroutine and one inbound for each source of the
// transport. Nothing is queued between reading and writing, and nothing is
// allocated a packet.
//
// # What is borrowed
//
// Of the device: the table of indices (who answers to a receiver index), the
// table of allowed addresses, the interface's MTU. Of a peer: its keypairs, its
// public key, its counters of bytes, the time of its last handshake. Of a keypair:
// both ciphers, the counter of nonces, the time of its making, the index of the
// other side. Fields that are not exported are found by reflection, by name and
// type, when the program starts; if one isn't there, [New] says so and the tunnel
// does without this package. The peer's timers are told of traffic by the device's own methods
// (go:linkname), in the order in which the device would call them. A test fails
// when the module changes, so that somebody reads again what this rests on.
//
// One thing is changed: the queues of a peer, which next to nothing takes here, are
// made short before it runs (slim.go).
//
// # Threats
//
// The other side of the network may send anything, at any time.
//
//   - Only what opens under a session key changes any state. The index of a packet
//     is looked up in the device's own table for each batch: a key that the device
//     has dropped (rekeyed twice, peer removed, key material zeroed) opens nothing.
//   - Every transport packet passes through here and none through the device, also
//     keepalives and the first of a new keypair. So there is one replay window for
//     each keypair, and a packet that one path took can't be played to the other.
//     The window is asked after the packet was found authentic.
//   - A nonce comes from the keypair's own atomic counter, the same that the device
//     draws from, and is drawn once. Past RejectAfterMessages nothing is sealed.
//   - Keys older than RejectAfterTime neither seal nor open.
//   - The address inside a packet must belong to the peer whose key opened it, by
//     the device's table, before anything else is done with the packet.
//   - The owner's filter sees each packet after that, and what went out before.
//   - Lengths are checked before they are used. What opens in place may only
//     overwrite the packet itself; the slices that are lent end where it does.
//   - Key material lives in the device. A session here points at its keypair, and
//     lets go of it within sweepEvery of the device doing so.
//   - Handshakes can't crowd out the packets of a session, nor grow memory: they
//     wait in a short queue of fixed size, and what does not fit is dropped. The
//     device's limiter and cookies are behind it as ever.
package fastpath
