package udp

import (
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// rawFilter is a program for the kernel that lets through what a port receives
// and WireGuard has no use for: first byte from 0xc0 up (meshd's own), or STUN's
// cookie. Packets of WireGuard stay out whatever numbers they hold.
func rawFilter(port uint16, is4 bool) []bpf.Instruction {
	const (
		all       = 1 << 18
		magic     = 0xc0       // and up: our own
		cookie    = 0x2112a442 // RFC 8489 §5, at byte 4
		wgNothing = 0x00ffffff // zero in all of WireGuard's messages, at byte 0
	)
	// IPv6's raw sockets begin with the UDP header, IPv4's with the IP header.
	start := bpf.Instruction(bpf.LoadConstant{Dst: bpf.RegX, Val: 0})
	if is4 {
		start = bpf.LoadMemShift{Off: 0}
	}
	return []bpf.Instruction{
		start,
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(port), SkipTrue: 8},
		bpf.LoadIndirect{Off: 8, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: magic, SkipTrue: 5},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: 0x3f, SkipTrue: 5},
		bpf.LoadIndirect{Off: 8, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: wgNothing, SkipTrue: 3},
		bpf.LoadIndirect{Off: 12, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: cookie, SkipTrue: 1},
		bpf.RetConstant{Val: all},
		bpf.RetConstant{Val: 0},
	}
}

// doorFilter is a program for the kernel that lets through what a [Door] hears: whole UDP
// datagrams to a port of this host that are probes or a STUN server's answers. It runs for
// every packet that any interface receives, so what all others are not comes first. It is
// given packets from the IP header on.
func doorFilter(port uint16, is4 bool) []bpf.Instruction {
	const (
		probe    = 0xd16d7368 // meshd's own, at byte 0
		response = 0x0101     // Binding success response (RFC 8489 §5)
		cookie   = 0x2112a442 // at byte 4
		fragment = 0x3fff     // IPv4: more follow, or it is not the first
		loopback = 1          // the index of its interface in every namespace
	)
	family := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 6, Size: 1}, // IPv6 says by the same that it is no fragment
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: drop6},
		bpf.LoadConstant{Dst: bpf.RegX, Val: ip6Header},
	}
	if is4 {
		family = []bpf.Instruction{
			bpf.LoadAbsolute{Off: 9, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: drop6 + 2},
			bpf.LoadAbsolute{Off: 6, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: fragment, SkipTrue: drop6},
			bpf.LoadMemShift{Off: 0},
		}
	}
	return append(family,
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(port), SkipTrue: 11},
		bpf.LoadIndirect{Off: 8, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: probe, SkipTrue: 4},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 16},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: response, SkipTrue: 7},
		bpf.LoadIndirect{Off: 12, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: cookie, SkipTrue: 5},
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_HOST, SkipTrue: 3},
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: loopback, SkipTrue: 1},
		bpf.RetConstant{Val: doorDatagram},
		bpf.RetConstant{Val: 0},
	)
}

// drop6 is how far it is in doorFilter from where IPv6 asks for the protocol to the end.
const drop6 = 14

func attachFilter(fd int, program []bpf.Instruction) error {
	raw, err := bpf.Assemble(program)
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}
