package punch

import (
	"bytes"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"meshd/punch/wire"
)

// noteSocket keeps what was written last.
type noteSocket struct {
	lazySocket
	last []byte
}

func (s *noteSocket) Write(bufs [][]byte, _ netip.AddrPort) error {
	s.last = bytes.Join(bufs, nil)
	return nil
}

func (s *noteSocket) WriteHeaded(head []byte, bufs [][]byte, _ netip.AddrPort) error {
	s.last = append(bytes.Clone(head), bytes.Join(bufs, nil)...)
	return nil
}

func TestFirstHandshakeBeginsInAnEnvelope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(noteSocket)
		m, f := testMux(&s.lazySocket)
		f.way.Store(&way{direct: s, addr: bobAddr, envelope: envelope(1, 7)})
		ask, answer, data := handshakeOf(typeInitiation), handshakeOf(typeResponse), packet(1, false)
		expect := func(story string, sent, want []byte) {
			t.Helper()
			m.send(bobKey, [][]byte{sent})
			if !bytes.Equal(s.last, want) {
				t.Errorf("%s: % x… was sent, want % x…", story, s.last[:12], want[:12])
			}
		}
		expect("nobody has answered yet", ask, relayed(7, ask))
		expect("what answers goes bare", answer, answer)
		f.heard(data)
		expect("there is a session", ask, ask)
		time.Sleep(sessionLife)
		expect("it is over", ask, relayed(7, ask))
		f.complete()
		expect("the kernel has one", ask, ask)

		f.shook.Store(nil)
		f.way.Store(&way{direct: s, addr: bobAddr, envelope: envelope(0, 7)})
		expect("we have no number yet", ask, ask)
		f.way.Store(&way{direct: s, addr: bobAddr, envelope: envelope(1, 7)})
		m.send(bobKey, [][]byte{answer, ask})
		if want := relayed(7, ask); !bytes.Equal(s.last, want) {
			t.Errorf("of two handshake messages at once the second was sent as % x…, want % x…", s.last[:12], want[:12])
		}
	})
}

// The kernel's WireGuard sees only what the rule leaves of two that cross.
func TestEnvelopesThatCross(t *testing.T) {
	for _, row := range []struct {
		name   string
		from   netip.AddrPort
		stands bool
		asked  bool // we did
		passed bool
		sender Key
	}{
		{"we have asked nothing", bobAddr, true, false, true, bobKey},
		{"ours stands", bobAddr, true, true, false, Key{}},
		{"theirs does", bobAddr, false, true, true, bobKey},
		{"from an address that no probe came from", someAddr, true, true, true, Key{}},
	} {
		s := new(noteSocket)
		m, f := testMux(&s.lazySocket)
		f.stands = row.stands
		f.way.Store(&way{direct: s, addr: bobAddr, envelope: envelope(1, 7)})
		ours, theirs := handshakeOf(typeInitiation), handshakeOf(typeInitiation)
		theirs[4] = 1
		if row.asked {
			m.send(bobKey, [][]byte{ours})
			s.last = nil
		}
		m.sort(socket4, [][]byte{relayed(7, theirs)}, []int{len(theirs) + wire.HeaderSize}, []netip.AddrPort{row.from}, []Key{{}})
		m.introduce(<-m.inbox)

		if again := s.last != nil; again == row.passed {
			t.Errorf("%s: ours was sent again is %v", row.name, again)
		}
		if got := len(m.injected) == 1; got != row.passed {
			t.Fatalf("%s: passed to WireGuard is %v, want %v", row.name, got, row.passed)
		}
		if !row.passed {
			continue
		}
		if got := <-m.injected; got.from != row.sender || !bytes.Equal(got.data, theirs) {
			t.Errorf("%s: passed as of %v, want %v", row.name, got.from, row.sender)
		}
	}
}
