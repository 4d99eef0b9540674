// Package udp moves datagrams in and out of the host, many per system call.
//
// It knows sockets, the kernel's offloads and their faults. It never knows what
// is inside a datagram, who sent it or why.
//
// On Linux a bundle is up to 64 datagrams of one size (the last may be shorter)
// to one destination, which cross the network stack as one packet:
//
//	Write(a, b, c)                                Read → a, b, c
//	   │ one iovec a datagram, nothing copied         ▲ split, copied once
//	   ▼                                              │
//	sendmmsg + UDP_SEGMENT ─── the stack, once ─── UDP_GRO + recvmmsg
//
// Descriptors are non-blocking and system calls raw: the Go scheduler is told
// nothing of them, and the netpoller is asked only when a call would block.
//
// What the kernel refuses is remembered for a while: bundles can't leave for this
// destination, for want of checksum offload on its route (EIO), or because datagrams
// are above its MTU and have to be fragmented one by one (EMSGSIZE). What it spoils without a word somebody else
// has to notice, and write datagrams one at a time.
//
// Who works on datagrams where they lie takes them by [Conn.Lend] instead of Read:
// then nothing is copied at all. Where the kernel's WireGuard has the port, a
// [RawConn] hears and sends beside it.
//
// A [Door] hears some of what comes to a port before the host's firewall drops it.
//
// Other systems get a plain socket with the same methods, and neither of these two.
package udp
