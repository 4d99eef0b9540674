package inkernel

import "encoding/binary"

// The kernel's map of flows: offsets in its keys and values. Addresses are as in the
// packet; those of IPv4 take the first four bytes of their place in a key.
const (
	keySource, keyTarget = 0, 16
	keyHead              = 32
	keyPorts             = 40 // source, destination
	keyInterface         = 44 // by which it comes
	keyProtocol          = 48 // of Ethernet
	keySize              = 56

	valueSample    = 0 // when user space is to see a packet again
	valuePackets   = 8
	valueBytes     = 16
	valueAddrs     = 24 // source and, right behind it, destination
	valuePorts     = 56
	valueInterface = 60 // by which it leaves
	valueMTU       = 64
	valueLimit     = 68 // key in the map of limits; zero: none
	valueDropped   = 72 // datagrams, for the limit
	valueSize      = 80
)

// The kernel's map of limits. Each is a token bucket kept as a time: the one at which
// all that was let through will have been paid for (GCRA). Times are in nanoseconds.
const (
	limitPaid  = 0
	limitCost  = 8 // of 1<<costShift bytes
	limitBurst = 16
	limitSize  = 24

	costShift = 20
)

// Fields of struct __sk_buff.
const (
	skbLength, skbPacketType  = 0, 4
	skbProtocol, skbVLAN      = 16, 20
	skbInterface              = 40
	skbSegments, skbGSOLength = 164, 176
)

// Helpers of the kernel, and their flags.
const (
	lookUp, timeNow       = 1, 5
	storeBytes, loadBytes = 9, 26
	sumIP, sumUDP         = 10, 11 // bpf_l3_csum_replace, bpf_l4_csum_replace
	difference            = 28
	redirectNeigh         = 152

	recompute    = 0x01 // the sum of the whole packet, where a card made one
	pseudoHeader = 0x10
	mangledZero  = 0x20
)

const (
	toUserSpace, shot = -1, 2 // TCX_NEXT, TCX_DROP

	ethernet, sizeIPv4, sizeIPv6, sizeUDP = 14, 20, 40, 8

	headSize    = 8
	protocolUDP = 17
	ttl         = 64
	maxSegments = 128 // of a bundle: UDP_MAX_SEGMENTS

	sampleEvery = 2_000_000_000 // ns

	// What the program keeps on its stack, below fp.
	packetAt = -56  // headers of IP and UDP, and of the relay
	keyAt    = -112 // the flow's key
	nextAt   = -120 // of a bundle: the header of one datagram
	limitAt  = -124 // the limit's key
)

// inOrder is what a register holds after a load of these bytes of a packet.
func inOrder(b ...byte) int32 { return int32(binary.NativeEndian.Uint16(b)) }

var (
	etherIPv4 = inOrder(0x08, 0x00)
	etherIPv6 = inOrder(0x86, 0xdd)
	fragments = inOrder(0x3f, 0xff) // RFC 791: more fragments, or an offset
)

// program forwards packets of the flows in one map, under the limits in another.
// r6 is the packet all along, r7 the flow's value once it is found.
func program(flows, limits int) []byte {
	a := newAssembler()
	a.copy(r6, r1)
	identify(a)
	a.loadMap(r1, flows)
	a.address(r2, keyAt)
	a.call(lookUp)
	a.jumpIf(equal, r0, 0, "pass")
	a.copy(r7, r0)
	inspect(a)
	sample(a)
	charge(a, limits)
	a.load(word, r0, r6, skbProtocol)
	a.jumpIf(equal, r0, etherIPv6, "rewrite IPv6")
	rewriteIPv4(a)
	rewriteIPv6(a)
	send(a)
	a.label("pass")
	a.exit(toUserSpace)
	a.label("shot")
	a.exit(shot)
	return a.bytes()
}

// identify makes the key of a UDP packet for this host, without options, fragments
// or VLAN. r9 becomes where in the packet the relay's message ends its header.
func identify(a *assembler) {
	a.load(word, r0, r6, skbPacketType)
	a.jumpIf(unlike, r0, 0, "pass") // PACKET_HOST
	a.load(word, r0, r6, skbVLAN)
	a.jumpIf(unlike, r0, 0, "pass")
	for at := int16(keyAt); at < 0; at += 8 { // the packet's place, too: else CAP_PERFMON is needed
		a.storeImm(double, fp, at, 0)
	}
	a.load(word, r0, r6, skbInterface)
	a.store(word, fp, keyAt+keyInterface, r0)
	a.load(word, r0, r6, skbProtocol)
	a.store(word, fp, keyAt+keyProtocol, r0)
	a.jumpIf(equal, r0, etherIPv4, "IPv4")
	a.jumpIf(unlike, r0, etherIPv6, "pass")

	fetch(a, ethernet, packetAt, sizeIPv6+sizeUDP+headSize)
	a.load(octet, r0, fp, packetAt)
	a.math(shift, r0, 4)
	a.jumpIf(unlike, r0, 6, "pass")
	a.load(octet, r0, fp, packetAt+6)
	a.jumpIf(unlike, r0, protocolUDP, "pass")
	move4(a, keyAt+keySource, packetAt+8, 8) // both addresses
	udpKey(a, packetAt+sizeIPv6)
	a.set(r9, sizeIPv6+sizeUDP)
	a.jump("known")

	a.label("IPv4")
	fetch(a, ethernet, packetAt, sizeIPv4+sizeUDP+headSize)
	a.load(octet, r0, fp, packetAt)
	a.jumpIf(unlike, r0, 0x45, "pass")
	a.load(half, r0, fp, packetAt+6)
	a.jumpIf(anyBit, r0, fragments, "pass")
	a.load(octet, r0, fp, packetAt+9)
	a.jumpIf(unlike, r0, protocolUDP, "pass")
	move4(a, keyAt+keySource, packetAt+12, 1)
	move4(a, keyAt+keyTarget, packetAt+16, 1)
	udpKey(a, packetAt+sizeIPv4)
	a.set(r9, sizeIPv4+sizeUDP)
	a.label("known")
}

// udpKey takes ports and head from behind the IP header. A packet without a checksum
// is not for us: nothing tells it from one whose sum is yet to be made.
func udpKey(a *assembler, at int16) {
	a.load(half, r0, fp, at+6)
	a.jumpIf(equal, r0, 0, "pass")
	move4(a, keyAt+keyPorts, at, 1)
	move4(a, keyAt+keyHead, at+sizeUDP, headSize/4)
}

// inspect passes on what does not fit the way out, and bundles that hold anything
// else than this flow's data: those of one size arrive as one bundle, whatever they
// are. r8 is where the datagram looked at begins, r9 how many may follow.
func inspect(a *assembler) {
	a.load(word, r0, r6, skbGSOLength)
	a.load(word, r1, r7, valueMTU)
	a.jumpIf(unlike, r0, 0, "bundle")
	a.load(word, r0, r6, skbLength)
	a.math(sub, r0, ethernet)
	a.jumpIfReg(greater, r0, r1, "pass")
	a.jump("fits")

	a.label("bundle")
	a.mathReg(add, r0, r9)
	a.jumpIfReg(greater, r0, r1, "pass")
	a.copy(r8, r9)
	a.math(add, r8, ethernet)
	a.set(r9, maxSegments)
	a.label("datagram")
	a.load(word, r0, r6, skbGSOLength)
	a.mathReg(add, r8, r0)
	a.load(word, r0, r6, skbLength)
	a.jumpIfReg(atLeast, r8, r0, "fits")
	a.math(sub, r9, 1)
	a.jumpIf(equal, r9, 0, "pass")
	a.copy(r2, r8)
	fetchAt(a, nextAt, headSize)
	a.load(double, r0, fp, nextAt)
	a.load(double, r1, fp, keyAt+keyHead)
	a.jumpIfReg(equal, r0, r1, "datagram")
	a.jump("pass")
	a.label("fits")
}

// sample passes on a packet now and then, so that user space hears the sender, and
// so that the host's own packet filter has its say. r8 becomes the time.
func sample(a *assembler) {
	a.call(timeNow)
	a.copy(r8, r0)
	a.load(double, r1, r7, valueSample)
	a.jumpIfReg(greater, r1, r8, "taken")
	a.math(add, r0, sampleEvery)
	a.store(double, r7, valueSample, r0)
	a.jump("pass")
	a.label("taken")
}

// charge takes the packet's bytes from the sender's bucket, if there is one. r8 is
// the time. Who loses a race goes to user space.
func charge(a *assembler, limits int) {
	a.load(word, r0, r7, valueLimit)
	a.jumpIf(equal, r0, 0, "charged")
	a.store(word, fp, limitAt, r0)
	a.loadMap(r1, limits)
	a.address(r2, limitAt)
	a.call(lookUp)
	a.jumpIf(equal, r0, 0, "pass")
	a.copy(r9, r0)

	a.load(word, r1, r6, skbLength)
	a.load(double, r2, r9, limitCost)
	a.mathReg(mul, r1, r2)
	a.math(shift, r1, costShift)
	a.load(double, r0, r9, limitPaid)
	a.mathReg(add, r1, r0)
	a.jumpIfReg(atLeast, r0, r8, "owing")
	a.mathReg(sub, r1, r0)
	a.mathReg(add, r1, r8)
	a.label("owing") // r1: when this one will have been paid for, too
	a.load(double, r2, r9, limitBurst)
	a.mathReg(add, r2, r8)
	a.jumpIfReg(greater, r1, r2, "beyond")
	a.copy(r2, r0)
	a.swapAtomic(r9, limitPaid, r1)
	a.jumpIfReg(unlike, r0, r2, "pass")
	a.jump("charged")

	a.label("beyond")
	countSegments(a)
	a.addAtomic(r7, valueDropped, r0)
	a.jump("shot")
	a.label("charged")
}

// rewriteIPv4 leaves the length of the headers in r8.
func rewriteIPv4(a *assembler) {
	const ip, udp = ethernet, ethernet + sizeIPv4
	sumDifference(a, packetAt+12, 8)
	a.copy(r8, r0)
	replaceSum(a, sumIP, ip+10, r8, 0)
	replaceSum(a, sumUDP, udp+6, r8, pseudoHeader|mangledZero)
	replacePorts(a, udp, packetAt+sizeIPv4)
	put(a, ip+12, r7, valueAddrs, 8, 0)

	a.load(half, r3, fp, packetAt+8) // time to live, protocol
	a.storeImm(octet, fp, packetAt+8, ttl)
	a.load(half, r4, fp, packetAt+8)
	a.copy(r1, r6)
	a.set(r2, ip+10)
	a.set(r5, 2)
	a.call(sumIP)
	a.jumpIf(unlike, r0, 0, "shot")
	put(a, ip+8, fp, packetAt+8, 1, 0)
	a.set(r8, udp+sizeUDP)
	a.jump("send")
}

// rewriteIPv6 leaves the length of the headers in r8. IPv6 has no sum of its own, so
// one of the whole packet changes with each byte.
func rewriteIPv6(a *assembler) {
	const ip, udp = ethernet, ethernet + sizeIPv6
	a.label("rewrite IPv6")
	sumDifference(a, packetAt+8, 32)
	a.copy(r8, r0)
	replaceSum(a, sumUDP, udp+6, r8, pseudoHeader|mangledZero)
	replacePorts(a, udp, packetAt+sizeIPv6)
	put(a, ip+8, r7, valueAddrs, 32, recompute)
	a.storeImm(octet, fp, packetAt+7, ttl)
	put(a, ip+7, fp, packetAt+7, 1, recompute)
	a.set(r8, udp+sizeUDP)
}

// send counts, and sends by the interface of the flow to whichever neighbor the
// host's routes say.
func send(a *assembler) {
	a.label("send")
	countSegments(a)
	a.addAtomic(r7, valuePackets, r0)
	a.load(word, r0, r6, skbLength)
	a.mathReg(sub, r0, r8)
	a.addAtomic(r7, valueBytes, r0)
	a.load(word, r1, r7, valueInterface)
	a.set(r2, 0)
	a.set(r3, 0)
	a.set(r4, 0)
	a.call(redirectNeigh)
	a.emit(instruction{op: classJump | exit})
}

// countSegments: r0 = how many datagrams the packet is.
func countSegments(a *assembler) {
	label := "segments " + string(rune('a'+len(a.labels)))
	a.load(word, r0, r6, skbSegments)
	a.jumpIf(unlike, r0, 0, label)
	a.set(r0, 1)
	a.label(label)
}

// fetch copies size bytes of the packet to the stack; a shorter packet is none of
// ours. fetchAt is the same from r2 on.
func fetch(a *assembler, from int32, to int16, size int32) {
	a.set(r2, from)
	fetchAt(a, to, size)
}

func fetchAt(a *assembler, to int16, size int32) {
	a.copy(r1, r6)
	a.address(r3, to)
	a.set(r4, size)
	a.call(loadBytes)
	a.jumpIf(unlike, r0, 0, "pass")
}

// move4 copies words from one place of the stack to another.
func move4(a *assembler, to, from int16, words int) {
	for at := int16(0); words > 0; words-- {
		a.load(word, r0, fp, from+at)
		a.store(word, fp, to+at, r0)
		at += 4
	}
}

// sumDifference: r0 = what the flow's addresses add to a sum in place of the packet's.
func sumDifference(a *assembler, packet int16, size int32) {
	a.address(r1, packet)
	a.set(r2, size)
	a.copy(r3, r7)
	a.math(add, r3, valueAddrs)
	a.set(r4, size)
	a.set(r5, 0)
	a.call(difference)
}

// replaceSum applies a difference to a checksum in the packet.
func replaceSum(a *assembler, helper, at int32, difference uint8, flags int32) {
	a.copy(r1, r6)
	a.set(r2, at)
	a.set(r3, 0)
	a.copy(r4, difference)
	a.set(r5, flags)
	a.call(helper)
	a.jumpIf(unlike, r0, 0, "shot")
}

// replacePorts exchanges the ports, whose old ones are on the stack, and their share
// of the checksum.
func replacePorts(a *assembler, udp int32, old int16) {
	a.copy(r1, r6)
	a.set(r2, udp+6)
	a.load(word, r3, fp, old)
	a.load(word, r4, r7, valuePorts)
	a.set(r5, mangledZero|4)
	a.call(sumUDP)
	a.jumpIf(unlike, r0, 0, "shot")
	put(a, udp, r7, valuePorts, 4, 0)
}

// put writes size bytes at base+offset into the packet.
func put(a *assembler, at int32, base uint8, offset int16, size, flags int32) {
	a.copy(r1, r6)
	a.set(r2, at)
	a.copy(r3, base)
	a.math(add, r3, int32(offset))
	a.set(r4, size)
	a.set(r5, flags)
	a.call(storeBytes)
	a.jumpIf(unlike, r0, 0, "shot")
}
