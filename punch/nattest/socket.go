package nattest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	defaultTTL = 64
	batchSize  = 128
	maxPayload = 65507
	// maxQueued is the receive buffer of a socket, in datagrams. What comes above
	// is lost, as with SO_RCVBUF.
	maxQueued = 1024
)

// Socket is a UDP socket of a [Host]. It has the methods of a real one of package
// punch/udp.
type Socket struct {
	host  *Host
	local netip.AddrPort
	sent  uint64 // guarded by host.net.mu

	mu     sync.Mutex // guards following
	filled sync.Cond
	queue  []Packet
	closed bool
}

func newSocket(h *Host, local netip.AddrPort) *Socket {
	h.opened++
	s := &Socket{host: h, local: local, sent: uint64(h.opened) << 32}
	s.filled.L = &s.mu
	return s
}

// LocalAddr returns the address the socket is bound to, with the port it was given.
func (s *Socket) LocalAddr() netip.AddrPort { return s.local }

// BatchSize is the most datagrams that one Read returns.
func (s *Socket) BatchSize() int { return batchSize }

// Read waits for a datagram and fills bufs with as many as there are. A datagram
// larger than its buffer is cut. After Close it fails with [net.ErrClosed].
func (s *Socket) Read(bufs [][]byte, sizes []int, from []netip.AddrPort) (int, error) {
	if s.spoils() {
		s.gather()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) == 0 && !s.closed {
		s.filled.Wait()
	}
	if s.closed {
		return 0, net.ErrClosed
	}
	n := min(len(bufs), len(s.queue), batchSize)
	for i, p := range s.queue[:n] {
		sizes[i] = copy(bufs[i], p.Payload)
		from[i] = p.Src
	}
	s.queue = slices.Delete(s.queue, 0, n)
	return n, nil
}

// gather waits until all is there that comes with the next datagram. A relay that
// spoils bundles has to make some.
func (s *Socket) gather() {
	s.mu.Lock()
	for len(s.queue) == 0 && !s.closed {
		s.filled.Wait()
	}
	s.mu.Unlock()
	time.Sleep(time.Microsecond)
}

// Write sends datagrams to one destination.
func (s *Socket) Write(bufs [][]byte, to netip.AddrPort) error {
	return s.WriteHeaded(nil, bufs, to)
}

// WriteHeaded is Write with the same head in front of every datagram.
func (s *Socket) WriteHeaded(head []byte, bufs [][]byte, to netip.AddrPort) error {
	spoil := s.spoils()
	for i, b := range bufs {
		d := slices.Concat(head, b)
		if i > 0 && spoil {
			d[len(d)-1]++
		}
		if err := s.write(d, to, defaultTTL); err != nil {
			return err
		}
	}
	return nil
}

func (s *Socket) spoils() bool {
	n := s.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	return s.host.spoils
}

// WriteTTL sends a datagram with this hop limit; 0 means the default of 64.
func (s *Socket) WriteTTL(b []byte, to netip.AddrPort, ttl int) error {
	if ttl == 0 {
		ttl = defaultTTL
	}
	return s.write(slices.Clone(b), to, ttl)
}

func (s *Socket) write(b []byte, to netip.AddrPort, ttl int) error {
	n := s.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.host.sockets[s.local] != s || n.closed {
		return net.ErrClosed
	}
	if len(b) > maxPayload {
		return sendError(to, syscall.EMSGSIZE)
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if to.Addr().Is4() != s.local.Addr().Is4() {
		return sendError(to, syscall.EAFNOSUPPORT)
	}
	via, src, ok := s.host.route(s.local.Addr(), to.Addr())
	if !ok {
		return sendError(to, syscall.ENETUNREACH)
	}
	s.sent++
	id := s.host.number<<48 | s.sent
	p := &packet{
		Packet: Packet{Src: netip.AddrPortFrom(src, s.local.Port()), Dst: to, TTL: ttl, Payload: b},
		from:   s.host, id: id, luck: newLuck(n.config.Seed, id),
	}
	n.after(stackDelay, p, func(p *packet) { s.host.send(via, p) })
	return nil
}

func sendError(to netip.AddrPort, err syscall.Errno) error {
	return fmt.Errorf("send to %v: %w", to, os.NewSyscallError("sendmsg", err))
}

// newLuck returns the source of all random choices about one thing.
func newLuck(seed, id uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, id)) }

// put queues a packet for Read, unless the buffer is full.
func (s *Socket) put(p *packet) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.queue) >= maxQueued {
		return false
	}
	s.queue = append(s.queue, p.Packet)
	s.filled.Signal()
	return true
}

// Close ends a blocked Read. It may be called more than once.
func (s *Socket) Close() error {
	n := s.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.host.sockets[s.local] == s {
		delete(s.host.sockets, s.local)
	}
	s.shut()
	return nil
}

func (s *Socket) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.queue = nil
	s.filled.Broadcast()
}
