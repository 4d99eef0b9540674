package fastpath

import (
	_ "unsafe" // for go:linkname

	"golang.zx2c4.com/wireguard/device"
)

// The methods by which the device tells a peer's timers of traffic, and renews
// its keys. They are not exported. The empty timers.s lets the compiler accept
// functions without a body.

//go:linkname timersDataSent golang.zx2c4.com/wireguard/device.(*Peer).timersDataSent
func timersDataSent(*device.Peer)

//go:linkname timersDataReceived golang.zx2c4.com/wireguard/device.(*Peer).timersDataReceived
func timersDataReceived(*device.Peer)

//go:linkname timersAnyAuthenticatedPacketSent golang.zx2c4.com/wireguard/device.(*Peer).timersAnyAuthenticatedPacketSent
func timersAnyAuthenticatedPacketSent(*device.Peer)

//go:linkname timersAnyAuthenticatedPacketReceived golang.zx2c4.com/wireguard/device.(*Peer).timersAnyAuthenticatedPacketReceived
func timersAnyAuthenticatedPacketReceived(*device.Peer)

//go:linkname timersAnyAuthenticatedPacketTraversal golang.zx2c4.com/wireguard/device.(*Peer).timersAnyAuthenticatedPacketTraversal
func timersAnyAuthenticatedPacketTraversal(*device.Peer)

//go:linkname timersHandshakeComplete golang.zx2c4.com/wireguard/device.(*Peer).timersHandshakeComplete
func timersHandshakeComplete(*device.Peer)

//go:linkname keepKeyFreshSending golang.zx2c4.com/wireguard/device.(*Peer).keepKeyFreshSending
func keepKeyFreshSending(*device.Peer)

//go:linkname keepKeyFreshReceiving golang.zx2c4.com/wireguard/device.(*Peer).keepKeyFreshReceiving
func keepKeyFreshReceiving(*device.Peer)
