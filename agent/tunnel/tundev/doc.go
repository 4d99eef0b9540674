// Package tundev is a TUN device of Linux that passes superpackets: one system
// call for up to 64 KiB of a flow, in either direction.
//
// It knows the device's descriptor and its link. What is in a frame is
// [meshd/agent/tunnel/vnet]'s; it knows nothing of WireGuard but the interface
// [tun.Device], which it implements beside its own.
//
//	            ReadFrames   -> frames in our buffers       (a path of our own)
//	/dev/net/tun <
//	            Read         -> copies of packets           (wireguard-go)
//
//	            NewWriter    <- packets, joined, one writev a superpacket
//	/dev/net/tun <
//	            Write        <- the same for wireguard-go
//
// # System calls
//
// The descriptor never blocks. System calls on it are made without telling the
// scheduler of Go, which a call that takes a microsecond does not deserve; only
// when there is nothing to read does the goroutine wait, in the netpoller. Reading
// goes on until the kernel has nothing more, and yields before it begins anew: to
// other goroutines, and where small packets come in crowds, or were written in one,
// to other programs.
//
// # What the kernel can't
//
// Superpackets of UDP need Linux 6.2; where the kernel does not know them, or not
// those of TCP, it cuts them itself. Some kernels (6.6.44 and its relatives) take
// the superpackets of nobody: a refused one is written packet by packet, and from
// then on so are all others of its protocol. Where the host forwards and has a
// vxlan or geneve, UDP is never joined: kernels lose such superpackets there.
package tundev
