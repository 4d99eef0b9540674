package relay

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"meshd/punch/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Members of the tests. Alice and Bob may talk, Carol with both, Mallory with nobody.
const (
	alice   wire.RelayID = 1
	bob     wire.RelayID = 2
	carol   wire.RelayID = 3
	mallory wire.RelayID = 66
	nobody  wire.RelayID = 99
)

// directory is a Directory in which every member's key is made of its id.
type directory struct{}

func (directory) Key(id wire.RelayID) (wire.RelayKey, bool) {
	return keyOf(id), id != nobody
}

func (directory) May(from, to wire.RelayID) bool {
	return from != mallory && to != mallory && from != to
}

func keyOf(id wire.RelayID) wire.RelayKey { return wire.RelayKey{byte(id), 'k'} }

func newMember(id wire.RelayID) *Client { return NewClient(ClientConfig{ID: id, Key: keyOf(id)}) }

// Where things are in tests without sockets: a relay of two addresses and two
// ports, and members at home.
var (
	relayAddrs = []netip.AddrPort{
		netip.MustParseAddrPort("192.0.2.1:3478"), netip.MustParseAddrPort("192.0.2.1:3479"),
		netip.MustParseAddrPort("192.0.2.2:3478"), netip.MustParseAddrPort("192.0.2.2:3479"),
	}
	home   = netip.MustParseAddrPort("198.51.100.7:41641")
	hotel  = netip.MustParseAddrPort("203.0.113.9:2000")
	office = netip.MustParseAddrPort("[2001:db8::7]:500")
	start  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

func newTestHandler(observed func(wire.RelayID, netip.AddrPort, Via)) *handler {
	return newHandler(ServerConfig{Directory: directory{}, Observed: observed}, 7, relayAddrs)
}

// data makes a relay message of a pair whose payload has the shape of WireGuard's data.
func data(epoch uint16, pair wire.RelayID, payload string) []byte {
	b := wire.AppendHeader(nil, wire.Header{Type: wire.Data, Epoch: epoch, ID: pair})
	return append(append(b, 4, 0, 0, 0), payload...)
}

// talk carries datagrams between a client at an address and socket 0 of a
// handler until nobody has more to say. It returns what the client learnt.
func talk(t *testing.T, now time.Time, h *handler, c *Client, at netip.AddrPort, send [][]byte) (events []Event) {
	t.Helper()
	for len(send) > 0 {
		var next [][]byte
		for _, b := range send {
			v := h.handle(now, leg{0, at}, b)
			if v.action != replyToIt {
				continue
			}
			if len(v.reply) > len(b) {
				t.Fatalf("reply of %d bytes to %d", len(v.reply), len(b))
			}
			more, event := c.Receive(now, v.reply, c.Addr())
			next = append(next, more...)
			if event != nil {
				events = append(events, event)
			}
		}
		send = next
	}
	return events
}

// bindAt binds a member at an address.
func bindAt(t *testing.T, now time.Time, h *handler, id wire.RelayID, at netip.AddrPort) *Client {
	t.Helper()
	c := newMember(id)
	if talk(t, now, h, c, at, c.Start(now, relayAddrs[0])); !c.Bound() {
		t.Fatalf("member %d not bound at %v", id, at)
	}
	return c
}

// sighting is a call of ServerConfig.Observed.
type sighting struct {
	id   wire.RelayID
	addr netip.AddrPort
	via  Via
}

// sightings collects calls of Observed.
type sightings struct {
	mu  sync.Mutex // guards following
	all []sighting
}

func (s *sightings) observe(id wire.RelayID, addr netip.AddrPort, via Via) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, sighting{id, addr, via})
}

// take returns what was seen since the last call.
func (s *sightings) take() []sighting {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.all
	s.all = nil
	return all
}

// fakePipe is a pipe that remembers.
type fakePipe struct {
	got    [][]byte
	closed bool
}

func (p *fakePipe) send(datagrams ...[]byte) int { p.got = append(p.got, datagrams...); return 0 }
func (p *fakePipe) close()                       { p.closed = true }
