// Package vnet is what a TUN device with virtio headers passes: frames of a
// header and an IP packet, which may be a superpacket of many segments.
//
// It knows the header, how a superpacket is cut and joined, and the Internet
// checksum. It knows no device, no socket and no clock, and compiles everywhere.
//
//	TUN read  --frame-->  Segments   --packets-->  cipher
//	cipher    --packets--> Coalescer --frames-->   TUN write
//
// # The header
//
// struct virtio_net_hdr of Linux, 10 bytes in the byte order of the host:
//
//	flags 1       1: the checksum is to be completed; 2: the data is known good
//	gso_type 1    0 none, 1 TCP/IPv4, 4 TCP/IPv6, 5 UDP; +0x80: CWR may be set
//	hdr_len 2     length of all headers, IP's included (a hint)
//	gso_size 2    payload of each segment but the last
//	csum_start 2  where the transport header begins
//	csum_offset 2 where in the transport header the checksum is
//
// A checksum to be completed holds the sum of the pseudo header, not inverted.
//
// # What joining may change
//
// Cutting a joined superpacket, as the kernel does where it leaves the host,
// gives the packets that came in, but for two things that no receiver may rely
// on: the identification of IPv4 packets that must not be fragmented (RFC 6864
// §4.1), and a transport checksum that was wrong before the tunnel, which is made
// good. A packet that is not joined is not touched.
package vnet
