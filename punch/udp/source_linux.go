package udp

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// sourceAge is how long a route is believed to begin at the same address.
	sourceAge = 250 * time.Millisecond
	// maxSources bounds the destinations remembered.
	maxSources = 1024
)

// sources tells from which address the host sends to a destination. Asking the
// kernel takes a few system calls, so answers are kept for a moment.
type sources struct {
	mark  uint32
	mu    sync.Mutex // guards following
	known map[netip.Addr]source
}

type source struct {
	addr  netip.Addr
	until time.Time
}

// to returns the source of datagrams to an IPv4 destination. A lack of any is the
// error of the route: ENETUNREACH and such.
func (s *sources) to(to netip.AddrPort) (netip.Addr, error) {
	now := time.Now()
	s.mu.Lock()
	found := s.known[to.Addr()]
	s.mu.Unlock()
	if now.Before(found.until) {
		return found.addr, nil
	}
	addr, err := routeSource(to, s.mark)
	if err != nil {
		return netip.Addr{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) >= maxSources {
		s.known = make(map[netip.Addr]source)
	}
	s.known[to.Addr()] = source{addr, now.Add(sourceAge)}
	return addr, nil
}

// forget has a destination looked up anew.
func (s *sources) forget(to netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, to)
}

// routeSource asks the kernel by connecting a socket, which sends nothing.
func routeSource(to netip.AddrPort, mark uint32) (netip.Addr, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return netip.Addr{}, err
	}
	defer unix.Close(fd)
	if mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
			return netip.Addr{}, err
		}
	}
	port := max(1, int(to.Port()))
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: to.Addr().As4()}); err != nil {
		return netip.Addr{}, err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return netip.Addr{}, err
	}
	v4, ok := name.(*unix.SockaddrInet4)
	if !ok {
		return netip.Addr{}, fmt.Errorf("source of %v: %w", to, unix.EAFNOSUPPORT)
	}
	return netip.AddrFrom4(v4.Addr), nil
}
