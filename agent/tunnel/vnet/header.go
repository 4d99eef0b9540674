package vnet

import (
	"encoding/binary"
	"fmt"
)

// HeaderLen is the length of struct virtio_net_hdr, which precedes every packet.
const HeaderLen = 10

// Values of virtio_net_hdr.
const (
	flagNeedsChecksum = 1

	gsoNone  = 0
	gsoTCPv4 = 1
	gsoTCPv6 = 4
	gsoUDP   = 5
	gsoECN   = 0x80
)

// header is struct virtio_net_hdr.
type header struct {
	flags, gsoType uint8
	headLen        uint16
	gsoSize        uint16
	checksumStart  uint16
	checksumOffset uint16
}

// parseHeader takes the header off frame.
func parseHeader(frame []byte) (header, []byte, error) {
	if len(frame) < HeaderLen {
		return header{}, nil, fmt.Errorf("frame of %d bytes has no virtio header", len(frame))
	}
	return header{
		flags:          frame[0],
		gsoType:        frame[1],
		headLen:        binary.NativeEndian.Uint16(frame[2:]),
		gsoSize:        binary.NativeEndian.Uint16(frame[4:]),
		checksumStart:  binary.NativeEndian.Uint16(frame[6:]),
		checksumOffset: binary.NativeEndian.Uint16(frame[8:]),
	}, frame[HeaderLen:], nil
}

// put writes h to the first bytes of b.
func (h header) put(b []byte) {
	_ = b[HeaderLen-1]
	b[0], b[1] = h.flags, h.gsoType
	binary.NativeEndian.PutUint16(b[2:], h.headLen)
	binary.NativeEndian.PutUint16(b[4:], h.gsoSize)
	binary.NativeEndian.PutUint16(b[6:], h.checksumStart)
	binary.NativeEndian.PutUint16(b[8:], h.checksumOffset)
}

// Offsets in IP and transport headers.
const (
	ipv4HeaderLen = 20 // without options
	ipv6HeaderLen = 40
	udpHeaderLen  = 8
	tcpHeaderLen  = 20 // without options

	protoTCP = 6
	protoUDP = 17

	tcpFlagsAt    = 13
	tcpChecksumAt = 16
	udpChecksumAt = 6

	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpACK = 0x10
	tcpECE = 0x40
	tcpCWR = 0x80
)

// IsSuper tells whether a frame that begins with this header is a superpacket.
func IsSuper(header []byte) bool { return header[1] != gsoNone }

// IsUDP tells whether it is one of UDP.
func IsUDP(header []byte) bool { return header[1] == gsoUDP }
