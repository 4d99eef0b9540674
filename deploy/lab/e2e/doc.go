// Package e2e holds the stories that meshd must live through, told with the real
// binary on the hosts of a lab. Limits are generous: how fast things go is
// measured by `make bench`, not here.
//
// On a kernel that has WireGuard members use it, unless a story says otherwise. So
// what is told here of user space is told of the kernel in the guest, as
//
//	make guest GUEST_FLAGS=-icount GUEST_RUN='TestMoving|TestPathDies'
//
// What CI has time for is TestKernel and all that begins with it. With GUEST_RUN=Test
// the rest runs, too, but for stories of programs that the guest hasn't got: avahi,
// systemd-resolved and NetworkManager, miniupnpd, getent.
package e2e
