// Command guest runs a program on a Linux kernel of its own: in an emulated
// machine that has nothing but a processor, memory and a serial line. There the
// kernel's WireGuard is tested on hosts whose kernel has none, and nothing that
// happens there can touch the host.
//
//	guest -kernel DIR [-timeout 4m] [-memory 1536] [-icount] [-cpu max] [-guests 1] [-env NAME=VALUE] [-add FILE[:PATH]] PROGRAM [ARGUMENT...]
//
// DIR holds an unpacked linux-image package ("deploy/tools.sh guest" gets it).
// What the program prints is printed, its exit code is this command's. A guest
// that doesn't start, hangs or dies ends with code 125 and the words of its
// kernel.
//
//	host                                 guest
//	cpio archive: this program as /init  ─►  process 1: mounts, modules, loopback
//	  PROGRAM and FILEs                        runs PROGRAM
//	  lab's tools with their libraries         its output   ─► serial line 1 ─► stdout
//	  kernel modules, in order of need         its verdict  ─► serial line 2 ─► exit code
//
// With -icount the guest has one processor, and its clock counts instructions: what
// is measured there does not depend on what else the host does.
//
// With -guests several run the program side by side, each of which finds in GUEST_SHARE
// which of them it is: 1/2, 2/2. What the first says is printed as it says it, what the
// others say when all have ended.
//
// It needs QEMU and no rights: the emulation is in software, so it runs inside of
// containers and virtual machines too, some ten times slower than the host.
package main
