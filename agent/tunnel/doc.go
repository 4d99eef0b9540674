// Package tunnel is WireGuard as the agent sees it: an interface, its peers,
// their allowed addresses and counters.
//
// It knows wireguard-go and TUN devices, and nobody else does. It never knows
// how a datagram travels: to it an endpoint is a peer, not an address, and the
// [Transport] (punch's engine) takes it from there. It never touches addresses or
// routes; those are netcfg's.
//
//	application
//	    | route to the interface
//	 kernel TUN --- Read/Write ---  device   (wireguard-go: sessions, cipher, timers)
//	    |                             |
//	 steadyTUN                       bind    one stable endpoint a peer, no roaming
//	 (link down does not              |
//	  close the bind)             Transport  Send(peer, packets)  ->  direct path or relay
//	                                         Receivers()          <-  packets and who sent them
//
// On Linux package fastpath stands between the device and both its TUN and its
// Transport: packets of sessions that the device has made pass there, and the
// device sees what is left, which is handshakes. Otherwise, or with
// MESHD_FASTPATH=off, all is as in the picture, and no more than a few hundred
// packets are inside of the device in either direction (pace.go): its own queues
// hold thousands. Either way the TUN is package tundev's, which passes superpackets.
//
// # Roaming
//
// WireGuard takes the source of any authentic packet for the peer's new
// address. Here that would let a late relayed packet undo a path that was just
// proven, so it is off: every peer gets its one endpoint when it is made, and
// the device is told beforehand to keep endpoints that were given.
//
// # The socket of `wg`
//
// On unix systems the device answers `wg show` on
// /var/run/wireguard/INTERFACE.sock. It only answers: what peers there are is
// the coordinator's to say, and `wg set` is refused.
//
// # What may come in
//
// The owner's rules (package filter) hold for packets that peers were allowed to
// send: they are asked where a packet has been deciphered, before it goes to the TUN.
// What the kernel's WireGuard deciphers goes through a table of ours in nftables,
// which is put back when somebody flushes it (kernel_filter_linux.go).
//
// # Systems
//
// Linux is what is run and tested. For macOS, FreeBSD and Windows the package
// compiles with wireguard-go's own TUN for each (utun, /dev/tun, wintun.dll),
// but has not been run there; Windows has no socket for `wg`.
//
// # The kernel's WireGuard
//
// On Linux the kernel's own is used where there is one: [Choose] says so. It owns
// the UDP port, and sends to direct paths and hears them by itself. So the
// transport has to look on ([Steering]): it says which peers have a direct path,
// and is told what moved there.
//
//	direct path        endpoint: the peer's address      the kernel alone
//	anything else      endpoint: 127.128.x.y, a peer's   kernel ◄─ proxy ─► Transport
//
// Its packets carry the firewall mark of the transport's sockets, if those have one,
// so that both go by the same routes.
//
// The kernel lets peers roam, and anybody with the right changes its peers. It
// tells nobody, so it is asked a few times a second, and what is not as wanted is
// put right. An interface that is gone ends the tunnel, which the agent makes anew,
// in user space if need be.
package tunnel
