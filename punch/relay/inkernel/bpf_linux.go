package inkernel

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// call is bpf(2). What attr points to must be pinned.
func call(command int, attr unsafe.Pointer, size uintptr) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(command), uintptr(attr), size)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

func address[T any](pins *runtime.Pinner, p *T) uint64 {
	pins.Pin(p)
	return uint64(uintptr(unsafe.Pointer(p)))
}

// bpfMap is a hash table in the kernel, by its descriptor.
type bpfMap int

func newMap(key, value, entries uint32) (bpfMap, error) {
	attr := struct{ kind, key, value, entries, flags uint32 }{unix.BPF_MAP_TYPE_HASH, key, value, entries, unix.BPF_F_NO_PREALLOC}
	fd, err := call(unix.BPF_MAP_CREATE, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return 0, fmt.Errorf("make a BPF map: %w", err)
	}
	return bpfMap(fd), nil
}

func (m bpfMap) element(command int, key, value []byte) error {
	var pins runtime.Pinner
	defer pins.Unpin()
	attr := struct {
		fd                uint32
		_                 uint32
		key, value, flags uint64
	}{fd: uint32(m), key: address(&pins, &key[0])}
	if value != nil {
		attr.value = address(&pins, &value[0])
	}
	_, err := call(command, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

func (m bpfMap) put(key, value []byte) error {
	return m.element(unix.BPF_MAP_UPDATE_ELEM, key, value)
}
func (m bpfMap) get(key, value []byte) error {
	return m.element(unix.BPF_MAP_LOOKUP_ELEM, key, value)
}

// take removes an element, after a last look at it.
func (m bpfMap) take(key, value []byte) error {
	return m.element(unix.BPF_MAP_LOOKUP_AND_DELETE_ELEM, key, value)
}

func (m bpfMap) close() { unix.Close(int(m)) }

// loadProgram has the kernel check a program for the way in of an interface.
func loadProgram(code []byte) (int, error) {
	const logSize = 1 << 20
	fd, err := tryProgram(code, nil)
	if err == nil || errors.Is(err, unix.EPERM) {
		return fd, err
	}
	log := make([]byte, logSize)
	if fd, again := tryProgram(code, log); again == nil {
		return fd, nil
	}
	return 0, fmt.Errorf("%w: %s", err, objection(unix.ByteSliceToString(log)))
}

// objection is what the verifier found wrong: the last line of its log but for
// statistics.
func objection(log string) (last string) {
	for line := range strings.Lines(log) {
		if !strings.HasPrefix(line, "processed ") && strings.TrimSpace(line) != "" {
			last = strings.TrimSpace(line)
		}
	}
	return last
}

func tryProgram(code, log []byte) (int, error) {
	var pins runtime.Pinner
	defer pins.Unpin()
	license := []byte("MIT\x00")
	attr := struct {
		kind, count     uint32
		code, license   uint64
		level, logSize  uint32
		log             uint64
		version, flags  uint32
		name            [unix.BPF_OBJ_NAME_LEN]byte
		iface, expected uint32
	}{
		kind: unix.BPF_PROG_TYPE_SCHED_CLS, count: uint32(len(code) / 8),
		code: address(&pins, &code[0]), license: address(&pins, &license[0]), expected: unix.BPF_TCX_INGRESS,
	}
	copy(attr.name[:], "meshd_relay")
	if log != nil {
		attr.level, attr.logSize, attr.log = 1, uint32(len(log)), address(&pins, &log[0])
	}
	fd, err := call(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return 0, fmt.Errorf("load a BPF program: %w", err)
	}
	return fd, nil
}

// attach puts a program on the way in of an interface, for as long as the descriptor
// returned is open (Linux 6.6).
func attach(program, iface int) (int, error) {
	attr := struct {
		program, iface, kind, flags uint32
		relative, _                 uint32
		revision                    uint64
	}{program: uint32(program), iface: uint32(iface), kind: unix.BPF_TCX_INGRESS}
	fd, err := call(unix.BPF_LINK_CREATE, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return 0, fmt.Errorf("attach a BPF program to interface %d: %w", iface, err)
	}
	return fd, nil
}
