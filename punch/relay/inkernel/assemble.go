package inkernel

import (
	"encoding/binary"
	"fmt"
)

// Parts of an instruction of BPF (RFC 9669): classes, sizes, operations, registers.
const (
	classLoad, classLoadReg, classStore, classStoreReg = 0, 1, 2, 3
	classJump, classALU                                = 5, 7

	word, half, octet, double = 0x00, 0x08, 0x10, 0x18

	modeMem, modeAtomic = 0x60, 0xc0
	fromReg             = 0x08

	add, sub, mul, and, shift, move = 0x00, 0x10, 0x20, 0x50, 0x70, 0xb0 // shift is to the right

	always, equal, greater, atLeast, anyBit, unlike = 0x00, 0x10, 0x20, 0x30, 0x40, 0x50
	callHelper, exit                                = 0x80, 0x90

	compareAndSwap = 0xf1

	r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, fp = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
)

// instruction is one of BPF as it is encoded.
type instruction struct {
	op       uint8
	dst, src uint8
	offset   int16
	imm      int32
}

// assembler collects instructions, and the labels that they jump to.
type assembler struct {
	code   []instruction
	labels map[string]int
	jumps  map[int]string
}

func newAssembler() *assembler {
	return &assembler{labels: map[string]int{}, jumps: map[int]string{}}
}

func (a *assembler) emit(i instruction) { a.code = append(a.code, i) }

// label names the next instruction.
func (a *assembler) label(name string) { a.labels[name] = len(a.code) }

// set, copy: dst = imm, dst = src.
func (a *assembler) set(dst uint8, imm int32) { a.math(move, dst, imm) }
func (a *assembler) copy(dst, src uint8)      { a.mathReg(move, dst, src) }

// math, mathReg: dst op= imm, dst op= src, in 64 bits.
func (a *assembler) math(op, dst uint8, imm int32) {
	a.emit(instruction{op: classALU | op, dst: dst, imm: imm})
}

func (a *assembler) mathReg(op, dst, src uint8) {
	a.emit(instruction{op: classALU | fromReg | op, dst: dst, src: src})
}

// load, store: between a register and memory at base+offset.
func (a *assembler) load(size, dst, base uint8, offset int16) {
	a.emit(instruction{op: classLoadReg | modeMem | size, dst: dst, src: base, offset: offset})
}

func (a *assembler) store(size, base uint8, offset int16, src uint8) {
	a.emit(instruction{op: classStoreReg | modeMem | size, dst: base, src: src, offset: offset})
}

func (a *assembler) storeImm(size, base uint8, offset int16, imm int32) {
	a.emit(instruction{op: classStore | modeMem | size, dst: base, offset: offset, imm: imm})
}

// addAtomic adds src to the 64 bits at base+offset; swapAtomic puts src there if r0
// is what is there, which it reads into r0.
func (a *assembler) addAtomic(base uint8, offset int16, src uint8) {
	a.emit(instruction{op: classStoreReg | modeAtomic | double, dst: base, src: src, offset: offset, imm: add})
}

func (a *assembler) swapAtomic(base uint8, offset int16, src uint8) {
	a.emit(instruction{op: classStoreReg | modeAtomic | double, dst: base, src: src, offset: offset, imm: compareAndSwap})
}

// jump, jumpIf, jumpIfReg: to a label, there where dst op imm or dst op src holds.
func (a *assembler) jump(label string) { a.jumpIf(always, 0, 0, label) }

func (a *assembler) jumpIf(op, dst uint8, imm int32, label string) {
	a.jumps[len(a.code)] = label
	a.emit(instruction{op: classJump | op, dst: dst, imm: imm})
}

func (a *assembler) jumpIfReg(op, dst, src uint8, label string) {
	a.jumps[len(a.code)] = label
	a.emit(instruction{op: classJump | fromReg | op, dst: dst, src: src})
}

// loadMap: dst = the map with this descriptor.
func (a *assembler) loadMap(dst uint8, fd int) {
	const pseudoMap = 1
	a.emit(instruction{op: classLoad | double, dst: dst, src: pseudoMap, imm: int32(fd)})
	a.emit(instruction{})
}

// address: dst = fp+offset.
func (a *assembler) address(dst uint8, offset int16) {
	a.copy(dst, fp)
	a.math(add, dst, int32(offset))
}

// call: r0 = the helper of r1 to r5, which are lost.
func (a *assembler) call(helper int32) { a.emit(instruction{op: classJump | callHelper, imm: helper}) }

// exit returns result.
func (a *assembler) exit(result int32) {
	a.set(r0, result)
	a.emit(instruction{op: classJump | exit})
}

// bytes encodes the program in the host's byte order. A label that is missing is
// our own bug.
func (a *assembler) bytes() []byte {
	var b []byte
	for at, i := range a.code {
		if label, ok := a.jumps[at]; ok {
			to, ok := a.labels[label]
			if !ok {
				panic(fmt.Sprintf("no label %q", label))
			}
			i.offset = int16(to - at - 1)
		}
		b = append(b, i.op, registers(i.dst, i.src))
		b = binary.NativeEndian.AppendUint16(b, uint16(i.offset))
		b = binary.NativeEndian.AppendUint32(b, uint32(i.imm))
	}
	return b
}

// registers packs two registers as a C compiler packs two bit fields of four.
func registers(dst, src uint8) uint8 {
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 { // big endian
		return dst<<4 | src
	}
	return src<<4 | dst
}
