package portmap

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// PCP on the wire (RFC 6887 §7, §11.1, §14.1), version 2:
//
//	request   2 | opcode     | 0 0                  | lifetime 4 | client address 16
//	answer    2 | opcode|80h | 0 | result code      | lifetime 4 | epoch 4 | 0 × 12
//	MAP       nonce 12 | protocol | 0 × 3 | internal port 2 | external port 2 | external address 16
//
// IPv4 addresses are written as ::ffff:a.b.c.d. ANNOUNCE is the header alone.
const (
	pcpVersion  = 2
	pcpAnnounce = 0
	pcpMap      = 1
	pcpAnswer   = 0x80
	pcpHeader   = 24
	pcpMapSize  = pcpHeader + 36
	pcpMaxSize  = 1100
	protocolUDP = 17 // IANA's number
)

// pcpNonce proves that a change to a mapping comes from who made it.
type pcpNonce [12]byte

// pcpMapping is the body of a MAP request or answer.
type pcpMapping struct {
	nonce    pcpNonce
	internal uint16
	external netip.AddrPort
}

// pcpResponse is an answer, or an unsolicited ANNOUNCE.
type pcpResponse struct {
	opcode   byte
	result   pcpResult
	lifetime time.Duration // of the mapping, or of the error
	epoch    uint32        // seconds
	mapping  pcpMapping    // of MAP, where the answer is long enough
}

// pcpResult is a result code (RFC 6887 §7.4).
type pcpResult byte

const (
	pcpSuccess            pcpResult = 0
	pcpUnsupportedVersion pcpResult = 1
	pcpUnsupportedOpcode  pcpResult = 4
)

var pcpResults = []string{
	"success", "unsupported version", "not authorized", "malformed request", "unsupported opcode",
	"unsupported option", "malformed option", "network failure", "no resources", "unsupported protocol",
	"user exceeded quota", "cannot provide external", "address mismatch", "excessive remote peers",
}

func (r pcpResult) String() string {
	if int(r) < len(pcpResults) {
		return pcpResults[r]
	}
	return fmt.Sprintf("result code %d", byte(r))
}

func appendPCPHeader(b []byte, opcode byte, lifetime time.Duration, client netip.Addr) []byte {
	b = append(b, pcpVersion, opcode, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(lifetime/time.Second))
	a := client.As16()
	return append(b, a[:]...)
}

// appendPCPMap appends a MAP request. A lifetime of 0 removes the mapping.
func appendPCPMap(b []byte, lifetime time.Duration, client netip.Addr, m pcpMapping) []byte {
	b = appendPCPHeader(b, pcpMap, lifetime, client)
	b = append(b, m.nonce[:]...)
	b = append(b, protocolUDP, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, m.internal)
	b = binary.BigEndian.AppendUint16(b, m.external.Port())
	a := m.external.Addr().As16()
	return append(b, a[:]...)
}

// parsePCP reads an answer. Errors say why a datagram is none of version 2.
func parsePCP(b []byte) (pcpResponse, error) {
	switch {
	case len(b) < 2:
		return pcpResponse{}, fmt.Errorf("PCP answer of %d bytes", len(b))
	case b[0] != pcpVersion:
		return pcpResponse{}, fmt.Errorf("answer in version %d, not PCP's %d", b[0], pcpVersion)
	case len(b) < pcpHeader || len(b) > pcpMaxSize || len(b)%4 != 0:
		return pcpResponse{}, fmt.Errorf("PCP answer of %d bytes", len(b))
	case b[1]&pcpAnswer == 0:
		return pcpResponse{}, fmt.Errorf("PCP request instead of an answer")
	}
	r := pcpResponse{
		opcode:   b[1] &^ pcpAnswer,
		result:   pcpResult(b[3]),
		lifetime: time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Second,
		epoch:    binary.BigEndian.Uint32(b[8:]),
	}
	if r.opcode != pcpMap || len(b) < pcpMapSize {
		if r.opcode == pcpMap && r.result == pcpSuccess {
			return pcpResponse{}, fmt.Errorf("PCP MAP answer of %d bytes", len(b))
		}
		return r, nil
	}
	body := b[pcpHeader:]
	if body[12] != protocolUDP {
		return pcpResponse{}, fmt.Errorf("PCP answer for IP protocol %d", body[12])
	}
	copy(r.mapping.nonce[:], body)
	r.mapping.internal = binary.BigEndian.Uint16(body[16:])
	addr := netip.AddrFrom16([16]byte(body[20:36])).Unmap()
	r.mapping.external = netip.AddrPortFrom(addr, binary.BigEndian.Uint16(body[18:]))
	return r, nil
}
