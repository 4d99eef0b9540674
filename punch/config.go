package punch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"meshd/punch/udp"
	"meshd/punch/wire"
)

// Key names a peer: its WireGuard public key.
type Key = [32]byte

// Socket is a UDP socket of one family. [udp.Conn] is the real one.
type Socket interface {
	LocalAddr() netip.AddrPort
	Read(bufs [][]byte, sizes []int, from []netip.AddrPort) (int, error)
	Write(bufs [][]byte, to netip.AddrPort) error
	WriteHeaded(head []byte, bufs [][]byte, to netip.AddrPort) error
	WriteTTL(b []byte, to netip.AddrPort, ttl int) error
	BatchSize() int
	Close() error
}

// RelayConn is a stream to the relay, for networks that block UDP. Each message
// is one relay datagram. Send never blocks and keeps nothing of its argument;
// what Read returns is good until the next call. Close ends a blocked Read.
type RelayConn interface {
	Read() ([]byte, error)
	Send(datagram []byte)
	Close() error
}

// defaultPrePunch is the size up to which all pairs are punched unasked: the
// heartbeats of 63 idle peers are still below 10 kbit/s.
const defaultPrePunch = 64

// Config is what an [Engine] is made of.
type Config struct {
	PrivateKey [32]byte // WireGuard's; probe keys are derived from it
	Port       uint16   // of both families; 0: any

	// Listen opens a socket on an unspecified address. Nil: udp.Listen.
	Listen func(netip.AddrPort) (Socket, error)
	// ListenPort opens the sockets of Port, if those are of another sort: where the
	// port is the kernel's, udp.ListenRaw. Nil: Listen.
	ListenPort func(netip.AddrPort) (Socket, error)
	// ListenExtra opens one of many more sockets, for a single peer each, that
	// carry little (the search for a path through a hard NAT). Nil: Listen, or
	// udp.Listen without offloads.
	ListenExtra func(netip.AddrPort) (Socket, error)
	// listenSurvey opens the sockets of a survey: Listen, or udp.Listen without
	// offloads.
	listenSurvey func(netip.AddrPort) (Socket, error)
	// OpenDoor opens a door to the port of a socket. Nil: none, or udp.OpenDoor where
	// there is no Listen either.
	OpenDoor func(netip.AddrPort) (Door, error)
	// Interfaces returns this host's usable addresses with their prefix lengths:
	// no loopback, no tunnels, no container bridges. Nil: none.
	Interfaces func() ([]netip.Prefix, error)
	// Mark is the mark of the sockets that are opened where there is no Listen: see
	// udp.Config.
	Mark uint32
	// Relay to use at first; zero: none. See [Engine.SetRelay].
	Relay Relay
	// DialWebSocket opens a stream to the relay. Nil: there is none.
	DialWebSocket func(context.Context) (RelayConn, error)
	// Advertise are addresses the owner forwards to this host's port.
	Advertise []netip.AddrPort
	// Publish is told what others should know of this host, first at once and
	// then at each change. It is called by Run's goroutine and must not block.
	Publish func(Local)
	// PrePunch is how many peers may be online for all of them to be punched
	// before anyone asks. 0: 64; below 0: never.
	PrePunch int
	// Largest is the largest datagram that Send is given. Ways are measured for it.
	// 0: 1444.
	Largest int
	// BirthdayRate is how many probes a second may be spent on the search for a
	// path to a peer whose NAT takes ports at random: 960 at most, for one peer
	// at a time, seldom. 0: 100; at most 300; below 0: there are no such searches.
	BirthdayRate int
	// Metered reports whether every packet costs, so that there are none for now.
	// Nil: never.
	Metered func() bool
	// Offer says whether this host relays for peers.
	Offer Offer
	// HubOnly has nothing relayed by peers, in either direction.
	HubOnly bool
	// RelayRate bounds what is relayed for each peer, in bytes a second. 0: 125
	// million.
	RelayRate int
	// ClockOffset is what to add to this host's clock, as learnt last time.
	ClockOffset time.Duration

	Log *slog.Logger // nil: none
}

// Local is what this host knows of its own reachability.
type Local struct {
	Candidates []wire.Candidate
	NAT        wire.NAT
	Relays     bool // it relays for peers
	// MappingSure is false while only the relay's one address saw us: a mapping
	// that seems independent of destinations may depend on their addresses.
	MappingSure bool
}

// Relay is a relay to have a session with.
type Relay struct {
	ID    wire.RelayID // ours there; 0: no relay
	Key   wire.RelayKey
	Addrs []netip.AddrPort // its UDP ports; the first one of a family carries the session
}

// Peer is another member as the map tells of it.
type Peer struct {
	Key        Key
	Name       string       // for logs
	Relay      wire.RelayID // 0: can't be relayed to
	Candidates []wire.Candidate
	Generation uint32 // of the candidates, raised at each change
	NAT        wire.NAT
	Online     bool
	Relays     bool // it relays for peers
	// Plain peers run WireGuard and nothing of ours: no probes, no relay. The
	// first candidate is where they were heard from.
	Plain bool
}

func (c Config) normal() (Config, error) {
	if c.PrivateKey == [32]byte{} {
		return c, errors.New("no private key given")
	}
	if c.ListenExtra == nil {
		c.ListenExtra = c.Listen
	}
	c.listenSurvey = c.Listen
	if c.Listen == nil {
		c.Listen, c.ListenExtra, c.listenSurvey = listenUDP(c.Mark), listenExtra(c.Mark), listenExtra(c.Mark)
		c.OpenDoor = openDoor
	}
	if c.ListenPort == nil {
		c.ListenPort = c.Listen
	}
	if c.Interfaces == nil {
		c.Interfaces = func() ([]netip.Prefix, error) { return nil, nil }
	}
	if c.Publish == nil {
		c.Publish = func(Local) {}
	}
	if c.PrePunch == 0 {
		c.PrePunch = defaultPrePunch
	}
	if c.Largest == 0 {
		c.Largest = defaultLargest
	}
	c.BirthdayRate = birthdayRate(c.BirthdayRate)
	if c.RelayRate == 0 {
		c.RelayRate = defaultRelayRate
	}
	if c.Metered == nil {
		c.Metered = func() bool { return false }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// birthdayRate is the rate that holds when n was asked for.
func birthdayRate(n int) int {
	if n == 0 {
		return defaultRate
	}
	return min(n, maxRate)
}

func listenUDP(mark uint32) func(netip.AddrPort) (Socket, error) {
	return listener(udp.Config{Mark: mark, Whole: true})
}

// listener opens sockets that differ in their addresses.
func listener(c udp.Config) func(netip.AddrPort) (Socket, error) {
	return func(addr netip.AddrPort) (Socket, error) {
		c := c
		c.Addr = addr
		s, err := udp.Listen(c)
		if err != nil {
			return nil, err // not s, which would be a nil of some type
		}
		return s, nil
	}
}

func openDoor(local netip.AddrPort) (Door, error) {
	d, err := udp.OpenDoor(local)
	if err != nil {
		return nil, err // not d, which would be a nil of some type
	}
	return d, nil
}

// anyPortTries is how often a port that is free for IPv4 may be taken for IPv6.
const anyPortTries = 8

// listen opens the sockets of both families on the same port. IPv6 may be
// missing; IPv4 may be too, on a host without it.
func (c Config) listen() ([]Socket, error) {
	for try := 1; ; try++ {
		s4, err := c.ListenPort(netip.AddrPortFrom(netip.IPv4Unspecified(), c.Port))
		port := c.Port
		if err == nil {
			port = s4.LocalAddr().Port()
		}
		s6, err6 := c.ListenPort(netip.AddrPortFrom(netip.IPv6Unspecified(), port))
		switch {
		case err == nil && err6 == nil:
			return []Socket{s4, s6}, nil
		case err == nil && c.Port == 0 && portTaken(err6) && try < anyPortTries:
			s4.Close()
		case err == nil:
			return []Socket{s4, nil}, nil
		case err6 == nil && !portTaken(err):
			return []Socket{nil, s6}, nil
		default:
			if err6 == nil {
				s6.Close()
			}
			return nil, fmt.Errorf("listen on UDP port %d: %w", c.Port, err)
		}
	}
}
