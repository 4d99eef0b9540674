package tunnel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// Peers that have no direct path have addresses of this host instead, one each,
// of which nothing else makes use: 127.128.0.1, 127.128.0.2 ...
const (
	firstLoopback = 127<<24 | 128<<16
	maxLoopback   = 1<<23 - 2
)

const (
	proxyBatch = 64
	// deliverMargin is what WireGuard and a relay add to a packet of the interface.
	deliverMargin = 128
	// proxyBuffer is the socket's, either way.
	proxyBuffer = 4 << 20
)

// proxy stands between the kernel's WireGuard and the transport, for all packets
// that don't go straight: a socket that is every peer's address at once.
type proxy struct {
	conn   *net.UDPConn
	packet *ipv4.PacketConn
	local  uint16
	kernel *net.UDPAddr // WireGuard's port

	table atomic.Pointer[proxyTable]
	mu    sync.Mutex // held by setPeers
	free  []uint32   // addresses of peers that are gone, for others
	next  uint32
}

// proxyTable is an immutable snapshot of whose each address is.
type proxyTable struct {
	links map[Key]*link
	keys  map[uint32]*link
}

// link is one peer's.
type link struct {
	key     Key
	addr    uint32
	control []byte // to send from addr

	// Bytes that the kernel sent to us, and those it was given; for its own
	// counters are of all.
	sent, received atomic.Uint64
}

// newProxy opens the socket for the WireGuard on a port. It hears the loopback
// interface only.
func newProxy(port uint16) (*proxy, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var inner error
		err := raw.Control(func(fd uintptr) {
			inner = unix.BindToDevice(int(fd), "lo")
			for _, option := range []int{unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, proxyBuffer) // a small one is slower, not wrong
			}
		})
		return errors.Join(err, inner)
	}}
	pc, err := lc.ListenPacket(context.Background(), "udp4", "0.0.0.0:0")
	if err != nil {
		return nil, fmt.Errorf("listen on the loopback interface: %w", err)
	}
	p := &proxy{
		conn: pc.(*net.UDPConn), packet: ipv4.NewPacketConn(pc),
		kernel: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)},
	}
	p.local = uint16(pc.LocalAddr().(*net.UDPAddr).Port)
	p.table.Store(&proxyTable{})
	if err := p.packet.SetControlMessage(ipv4.FlagDst, true); err != nil {
		pc.Close()
		return nil, fmt.Errorf("listen on the loopback interface: %w", err)
	}
	return p, nil
}

func (p *proxy) close() error {
	if err := p.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// setPeers gives new peers an address each. Those that stay keep theirs.
func (p *proxy) setPeers(peers map[Key]Peer) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.table.Load()
	t := &proxyTable{links: maps.Clone(old.links), keys: maps.Clone(old.keys)}
	if t.links == nil {
		t.links, t.keys = make(map[Key]*link), make(map[uint32]*link)
	}
	for key, l := range t.links {
		if _, stays := peers[key]; !stays {
			delete(t.links, key)
			delete(t.keys, l.addr)
			p.free = append(p.free, l.addr)
		}
	}
	for key := range peers {
		if t.links[key] != nil {
			continue
		}
		addr, err := p.allot()
		if err != nil {
			return err
		}
		l := &link{key: key, addr: addr, control: (&ipv4.ControlMessage{Src: ip4(addr)}).Marshal()}
		t.links[key], t.keys[addr] = l, l
	}
	p.table.Store(t)
	return nil
}

// allot prefers addresses that were never another's: a late packet to an old one
// then goes nowhere.
func (p *proxy) allot() (uint32, error) {
	if p.next < maxLoopback {
		p.next++
		return firstLoopback + p.next, nil
	}
	if len(p.free) == 0 {
		return 0, fmt.Errorf("no loopback address left for another peer than %d", maxLoopback)
	}
	addr := p.free[0]
	p.free = p.free[1:]
	return addr, nil
}

func ip4(addr uint32) net.IP { return binary.BigEndian.AppendUint32(nil, addr) }

// address is a peer's stand-in for the kernel; zero: it is none of the peers.
func (p *proxy) address(peer Key) netip.AddrPort {
	l := p.table.Load().links[peer]
	if l == nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip4(l.addr))), p.local)
}

// run hands what the kernel sends to send, until the socket is closed. Losses are
// normal: an error of send is one.
func (p *proxy) run(send func(Key, [][]byte) error) {
	ms := messages(proxyBatch, maxMTU)
	bufs := make([][]byte, 0, proxyBatch)
	for {
		n, err := p.packet.ReadBatch(ms, 0)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		t := p.table.Load()
		var of *link
		for _, m := range ms[:n] {
			l := t.keys[destination(m.OOB[:m.NN])]
			if l != of && len(bufs) > 0 {
				of.pass(bufs, send)
				bufs = bufs[:0]
			}
			if of = l; l != nil && p.isKernel(m.Addr) {
				bufs = append(bufs, m.Buffers[0][:m.N])
			}
		}
		if len(bufs) > 0 {
			of.pass(bufs, send)
			bufs = bufs[:0]
		}
	}
}

func (l *link) pass(bufs [][]byte, send func(Key, [][]byte) error) {
	size := 0
	for _, b := range bufs {
		size += len(b)
	}
	l.sent.Add(uint64(size))
	_ = send(l.key, bufs) // no way to the peer: a loss
}

// isKernel keeps other programs of this host from sending to our peers: they
// can't have WireGuard's port.
func (p *proxy) isKernel(from net.Addr) bool {
	a, ok := from.(*net.UDPAddr)
	return ok && a.Port == p.kernel.Port && a.IP.Equal(p.kernel.IP)
}

// destination reads to which address a message came (IP_PKTINFO).
func destination(control []byte) uint32 {
	const info = unix.SizeofCmsghdr // struct in_pktinfo: interface, local address, destination
	if len(control) < info+unix.SizeofInet4Pktinfo {
		return 0
	}
	return binary.BigEndian.Uint32(control[info+8:])
}

// deliver hands what receive gives to the kernel, as if it came from the peer's
// address, until receive fails: the transport is closed.
func (p *proxy) deliver(receive func([][]byte, []int, []Key) (int, error), batch, size int) {
	batch = min(batch, proxyBatch)
	bufs, sizes, peers := make([][]byte, batch), make([]int, batch), make([]Key, batch)
	for i := range bufs {
		bufs[i] = make([]byte, size)
	}
	ms := make([]ipv4.Message, 0, batch)
	for {
		n, err := receive(bufs, sizes, peers)
		if err != nil {
			return
		}
		links := p.table.Load().links
		ms = ms[:0]
		for i := range n {
			l := links[peers[i]]
			if l == nil || sizes[i] == 0 {
				continue
			}
			l.received.Add(uint64(sizes[i]))
			ms = append(ms, ipv4.Message{Buffers: [][]byte{bufs[i][:sizes[i]]}, OOB: l.control, Addr: p.kernel})
		}
		for left := ms; len(left) > 0; {
			n, err := p.packet.WriteBatch(left, 0)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			left = left[max(n, 1):] // one that can't be sent is a loss
		}
	}
}

func messages(n, size int) []ipv4.Message {
	ms := make([]ipv4.Message, n)
	for i := range ms {
		ms[i] = ipv4.Message{Buffers: [][]byte{make([]byte, size)}, OOB: make([]byte, unix.CmsgSpace(unix.SizeofInet4Pktinfo))}
	}
	return ms
}
