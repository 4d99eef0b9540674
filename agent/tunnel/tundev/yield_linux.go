package tundev

import "golang.org/x/sys/unix"

// crowd is from how many small packets on, read at once or written as one
// superpacket, other programs get a turn. A socket's buffer of the usual size holds
// some hundred datagrams: the application must come to read them before the next
// hundred is there, or they are lost after all has been paid for them. TCP has a
// window for that, and needs no turns.
const crowd = 32

// yield has the kernel choose anew who runs, now and not at the next tick of its
// clock, milliseconds later. Who is alone on a processor stays there.
func yield() { unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
