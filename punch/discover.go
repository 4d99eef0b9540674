package punch

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// DiscoverConfig says how to find out about the NATs in front of this host.
type DiscoverConfig struct {
	// Servers answer to STUN: the more ports and addresses, the more can be told.
	// Those of one IP version are asked together.
	Servers []netip.AddrPort
	// Own are the addresses of this host's interfaces.
	Own []netip.Addr
	// Listen opens a socket on an unspecified address. Nil: udp.Listen.
	Listen func(netip.AddrPort) (Socket, error)
	// OpenDoor opens a door to the port of a socket, so that the filtering of a
	// firewall of this host's own is told apart from that of the network. Nil: none, or
	// udp.OpenDoor where there is no Listen either.
	OpenDoor func(netip.AddrPort) (Door, error)
	// Mark is that of these sockets, where Listen is nil: see udp.Config.
	Mark uint32
	// Ports samples how ports are allocated even where mapping seems not to depend
	// on destinations. Otherwise that is done only where it does.
	Ports bool
	// Hairpin asks whether two hosts behind the NAT can meet at its outside.
	Hairpin bool
	// Lifetime measures how long a mapping lasts without traffic. That takes up to
	// six minutes, and a server that knows RESPONSE-PORT.
	Lifetime bool
	// Early, unless nil, is told of a NAT that maps by destination as soon as is
	// known how it picks ports: within two round trips, long before the silence
	// of a filter is certain. It is called by Discover's goroutines.
	Early func(Report)
}

// Discovery is what [Discover] found out. A report is nil if there was no server
// of that IP version, or no socket could be opened for it.
type Discovery struct {
	V4, V6 *Report
}

// Best is the report that peers should hear of: of IPv4, where translation is,
// if UDP gets through there. It is never nil.
func (d Discovery) Best() *Report {
	switch {
	case d.V4 != nil && (d.V4.UDP || d.V6 == nil || !d.V6.UDP):
		return d.V4
	case d.V6 != nil:
		return d.V6
	}
	return &Report{}
}

// Discover asks STUN servers until all is told, which takes about two seconds,
// or until ctx ends. It uses sockets of its own, up to 14, or 22 for lifetimes:
// NATs treat all of a host's alike.
func Discover(ctx context.Context, c DiscoverConfig) Discovery {
	if c.Listen == nil {
		c.Listen, c.OpenDoor = listenExtra(c.Mark), openDoor
	}
	var d Discovery
	var tasks sync.WaitGroup
	for _, f := range []struct {
		report **Report
		any    netip.Addr
	}{{&d.V4, netip.IPv4Unspecified()}, {&d.V6, netip.IPv6Unspecified()}} {
		servers := slices.DeleteFunc(slices.Clone(c.Servers), func(a netip.AddrPort) bool { return a.Addr().Is4() != f.any.Is4() })
		if len(servers) > 0 {
			tasks.Go(func() { *f.report = c.discover(ctx, f.any, servers) })
		}
	}
	tasks.Wait()
	return d
}

// discover carries out a survey for one IP version.
func (c *DiscoverConfig) discover(ctx context.Context, any netip.Addr, servers []netip.AddrPort) *Report {
	s := &scout{
		survey: newSurvey(time.Now(), servers, surveyWish{c.Ports, c.Hairpin, c.Lifetime}),
		listen: func() (Socket, error) { return c.Listen(netip.AddrPortFrom(any, 0)) }, door: c.OpenDoor,
		inbox: make(chan letter), sockets: make(map[int]Socket), done: make(chan struct{}),
	}
	if c.Early != nil {
		s.early = func() { c.Early(s.survey.report(c.Own)) }
	}
	defer s.close()
	if !s.run(ctx) {
		return nil
	}
	r := s.survey.report(c.Own)
	return &r
}

// scout performs a survey: it has the sockets and the clock.
type scout struct {
	survey  *survey
	listen  func() (Socket, error)
	door    func(netip.AddrPort) (Door, error) // nil: none
	doors   []Door
	sockets map[int]Socket
	inbox   chan letter
	early   func()        // called once when ports are known; nil: it was, or nobody asked
	done    chan struct{} // closed by close
	readers sync.WaitGroup
}

// letter is a datagram that came to a scout.
type letter struct {
	socket int
	door   bool // it came by the socket's door
	from   netip.AddrPort
	data   []byte
}

// run returns when the survey is over or ctx ends. It reports false when there is
// no socket to be had.
func (s *scout) run(ctx context.Context) bool {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return len(s.sockets) > 0
		case l := <-s.inbox:
			if l.door {
				s.survey.overhear(l.socket, l.from, l.data)
			} else {
				s.survey.take(time.Now(), l.socket, l.from, l.data)
			}
		case <-t.C:
		}
		for _, r := range s.survey.due(time.Now()) {
			s.send(r)
		}
		if s.early != nil && s.survey.sampled() {
			s.early()
			s.early = nil
		}
		d := s.survey.deadline()
		if d.IsZero() || len(s.sockets) == 0 {
			return len(s.sockets) > 0
		}
		t.Reset(time.Until(d))
	}
}

// send sends from a socket that is opened when it is first needed. What fails is
// lost, and asked again.
func (s *scout) send(r request) {
	sock := s.sockets[r.socket]
	if sock == nil {
		var err error
		if sock, err = s.listen(); err != nil {
			return
		}
		s.sockets[r.socket] = sock
		s.survey.bound(r.socket, sock.LocalAddr().Port())
		s.readers.Go(func() { s.read(r.socket, sock) })
		if s.door != nil && s.survey.filters(r.socket) {
			s.openDoor(r.socket, sock.LocalAddr())
		}
	}
	sock.Write([][]byte{r.data}, r.to)
}

func (s *scout) read(id int, sock Socket) {
	bufs, sizes, from := [][]byte{make([]byte, 2048)}, []int{0}, make([]netip.AddrPort, 1)
	for {
		if _, err := sock.Read(bufs, sizes, from); err != nil {
			return
		}
		if !s.deliver(letter{socket: id, from: from[0], data: clone(bufs[0][:sizes[0]])}) {
			return
		}
	}
}

// openDoor has a socket's answers heard which the host's firewall drops. Where that
// can't be, what the firewall filters is taken for the network's doing.
func (s *scout) openDoor(id int, local netip.AddrPort) {
	d, err := s.door(local)
	if err != nil {
		return
	}
	s.doors = append(s.doors, d)
	s.readers.Go(func() {
		b := make([]byte, 2048)
		for {
			n, from, err := d.Read(b)
			if err != nil || !s.deliver(letter{id, true, from, clone(b[:n])}) {
				return
			}
		}
	})
}

// deliver reports false when the survey is over.
func (s *scout) deliver(l letter) bool {
	select {
	case s.inbox <- l:
		return true
	case <-s.done:
		return false
	}
}

func (s *scout) close() {
	close(s.done)
	for _, sock := range s.sockets {
		sock.Close()
	}
	for _, d := range s.doors {
		d.Close()
	}
	s.readers.Wait()
}
