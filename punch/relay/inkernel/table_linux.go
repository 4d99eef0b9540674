package inkernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Table is the kernel's table of flows. It is not safe for concurrent use.
type Table struct {
	flows, limits bpfMap
	program       int
	installed     map[Flow]place
	links         map[int]*link  // by interface
	buckets       map[uint32]int // how many flows use each
}

// place is where a flow is.
type place struct {
	in    int // the interface by which it comes
	limit uint32
}

// link is the program on an interface that some flows come by.
type link struct{ fd, flows int }

// New loads the program, and attaches it to nothing. Its error says what is missing:
// a kernel, or the right to do it (CAP_BPF and CAP_NET_ADMIN).
func New() (*Table, error) {
	t := &Table{installed: map[Flow]place{}, links: map[int]*link{}, buckets: map[uint32]int{}}
	var err error
	if t.flows, err = newMap(keySize, valueSize, MaxFlows); err != nil {
		return nil, err
	}
	if t.limits, err = newMap(4, limitSize, MaxFlows); err != nil {
		t.flows.close()
		return nil, err
	}
	if t.program, err = loadProgram(program(int(t.flows), int(t.limits))); err != nil {
		t.flows.close()
		t.limits.close()
		return nil, err
	}
	probe, err := attach(t.program, loopback)
	if err != nil {
		t.Close()
		return nil, err
	}
	unix.Close(probe)
	return t, nil
}

// loopback is the index of that interface in each namespace. No flow comes by it, so
// it is where to try whether a program can be attached at all.
const loopback = 1

// Close has the kernel forward nothing any more. So does the end of this process.
func (t *Table) Close() {
	for _, l := range t.links {
		unix.Close(l.fd)
	}
	unix.Close(t.program)
	t.flows.close()
	t.limits.close()
}

// Limit makes a bucket for flows yet to be installed: rate in bytes a second, burst in
// bytes. One that is there stays as it is. It lives as long as flows use it.
func (t *Table) Limit(id uint32, rate, burst uint64) error {
	if t.buckets[id] > 0 {
		return nil
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	return t.limits.put(limitKey(id), limitValue(uint64(now.Nano()), rate, burst))
}

// Install has a flow forwarded that comes by one path and leaves by another.
func (t *Table) Install(f Flow, in Path, e Exit, out Path) error {
	if f.From.Addr().Is4() != f.At.Addr().Is4() || e.From.Addr().Is4() != e.To.Addr().Is4() || f.From.Addr().Is4() != e.To.Addr().Is4() {
		return errors.New("forward in the kernel: IPv4 on one side, IPv6 on the other")
	}
	t.Remove(f)
	t.buckets[e.Limit]++
	t.installed[f] = place{in.Interface, e.Limit}
	err := t.enter(in.Interface)
	if err == nil {
		err = t.flows.put(f.key(in.Interface), e.value(out))
	}
	if err != nil {
		t.Remove(f)
		return fmt.Errorf("forward in the kernel: %w", err)
	}
	return nil
}

// enter has one flow more come by an interface.
func (t *Table) enter(iface int) error {
	if t.links[iface] == nil {
		fd, err := attach(t.program, iface)
		if err != nil {
			return err
		}
		t.links[iface] = &link{fd: fd}
	}
	t.links[iface].flows++
	return nil
}

// leave undoes enter, or what there is of it.
func (t *Table) leave(iface int) {
	l := t.links[iface]
	if l == nil {
		return
	}
	if l.flows--; l.flows == 0 {
		unix.Close(l.fd)
		delete(t.links, iface)
	}
}

// Remove leaves a flow to user space again, and returns what was forwarded of it.
func (t *Table) Remove(f Flow) Count {
	p, ok := t.installed[f]
	if !ok {
		return Count{}
	}
	delete(t.installed, f)
	value := make([]byte, valueSize)
	var n Count
	if t.flows.take(f.key(p.in), value) == nil {
		n = countOf(value)
	}
	if t.buckets[p.limit]--; t.buckets[p.limit] == 0 {
		delete(t.buckets, p.limit)
		t.limits.take(limitKey(p.limit), make([]byte, limitSize)) // gone or never there: as well
	}
	t.leave(p.in)
	return n
}

// Count returns what was forwarded of a flow since it was installed.
func (t *Table) Count(f Flow) Count {
	p, ok := t.installed[f]
	value := make([]byte, valueSize)
	if !ok || t.flows.get(f.key(p.in), value) != nil {
		return Count{}
	}
	return countOf(value)
}
