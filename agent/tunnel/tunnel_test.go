package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"meshd/agent/tunnel/filter"
)

func TestPacketsBothWays(t *testing.T) {
	a, b := newPair(t)
	a.send(t, b)
	b.send(t, a)
	stats, err := a.Stats()
	if err != nil {
		t.Fatal(err)
	}
	got := stats[b.key]
	if got.LastHandshake.IsZero() || time.Since(got.LastHandshake) > patience || got.RxBytes == 0 || got.TxBytes == 0 {
		t.Errorf("stats of the peer: %+v, want a handshake just now and bytes both ways", got)
	}
}

// The bind is closed once before it is opened, and that is not the end.
func TestTransportOutlivesStart(t *testing.T) {
	a, _ := newPair(t)
	select {
	case <-a.wire.closed:
		t.Error("transport closed by the start of the device")
	default:
	}
}

func TestCloseEndsEverything(t *testing.T) {
	defer goleak.VerifyNone(t)
	a, b := newPair(t)
	a.send(t, b)
	for _, s := range []*side{a, b} {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		<-s.wire.closed
		<-s.Wait()
		if err := s.Close(); err != nil {
			t.Errorf("close again: %v", err)
		}
	}
}

// A transport that names the wrong sender, or none, must not turn traffic to
// another peer: answers go to the peer that the packets prove to be from.
func TestNoRoaming(t *testing.T) {
	_, third := keys(3)
	for name, from := range map[string]Key{"another peer": third, "nobody known": {9}, "nobody": {}} {
		t.Run(name, func(t *testing.T) {
			a, b := newSide(1), newSide(2)
			a.wire, b.wire = newTwins(a.key, b.key)
			b.wire.from = func(Key) Key { return from }
			a.start(t)
			b.start(t)
			a.setPeers(t, b.asPeer())
			// The second is added while the device is up and has a peer.
			b.setPeers(t, Peer{Key: third})
			b.setPeers(t, Peer{Key: third}, a.asPeer())
			a.send(t, b)
			b.send(t, a)
			a.send(t, b)
			if n := b.wire.sentTo(from); n != 0 {
				t.Errorf("%d packets went to who was said to have sent", n)
			}
			if b.wire.sentTo(a.key) == 0 {
				t.Error("nothing went to the peer")
			}
		})
	}
}

func TestSetPeersKeepsSessions(t *testing.T) {
	a, b := newPair(t)
	a.send(t, b)
	begun := a.wire.initiations() + b.wire.initiations()
	more := b.asPeer()
	more.AllowedIPs = append(more.AllowedIPs, netip.MustParsePrefix("10.1.0.0/16"))
	_, third := keys(3)
	for _, set := range [][]Peer{{b.asPeer()}, {more}, {b.asPeer(), {Key: third}}, {b.asPeer()}} {
		a.setPeers(t, set...)
		a.send(t, b)
		b.send(t, a)
	}
	if n := a.wire.initiations() + b.wire.initiations(); n != begun {
		t.Errorf("%d handshakes more, want none", n-begun)
	}
}

func TestSetPeersRemoves(t *testing.T) {
	a, b := newPair(t)
	a.send(t, b)
	a.setPeers(t)
	if stats, err := a.Stats(); err != nil || len(stats) != 0 {
		t.Errorf("got %v, %v after removal of all peers", stats, err)
	}
	// The other end forgets too: it takes two handshakes within 16 ms for a replay.
	b.setPeers(t)
	b.setPeers(t, a.asPeer())
	a.setPeers(t, b.asPeer())
	a.send(t, b)
}

// What a foreign hand changed in the device, the next set mends.
func TestSetPeersMends(t *testing.T) {
	a, b := newPair(t)
	if err := a.dev.IpcSet(fmt.Sprintf("public_key=%x\nreplace_allowed_ips=true\n", b.key)); err != nil {
		t.Fatal(err)
	}
	a.setPeers(t, b.asPeer())
	a.send(t, b)
}

func TestSetPrivateKey(t *testing.T) {
	a, b := newPair(t)
	a.send(t, b)
	private, public := keys(7)
	if err := a.SetPrivateKey(private); err != nil {
		t.Fatal(err)
	}
	a.key, a.wire.key = public, public
	b.setPeers(t, a.asPeer())
	a.send(t, b)
	b.send(t, a)
}

// Without the fast path, too, the owner says what comes in.
func TestSetInbound(t *testing.T) {
	a, b := newPair(t)
	a.send(t, b)
	if err := b.SetInbound(filter.Rules{{Proto: filter.ICMP}}); err != nil {
		t.Fatal(err)
	}
	a.tun.Outbound <- syn(a.addr, b.addr)
	a.send(t, b) // an echo, and not what went before it
	// The other way nothing is kept out.
	b.tun.Outbound <- syn(b.addr, a.addr)
	if got := <-a.tun.Inbound; got[9] != byte(filter.TCP) {
		t.Errorf("got %x, want the SYN", got)
	}
}

// syn begins a connection over TCP, to port 22.
func syn(from, to netip.Addr) []byte {
	b := make([]byte, 40)
	b[0], b[3], b[8], b[9] = 0x45, byte(len(b)), 64, byte(filter.TCP)
	copy(b[12:], from.AsSlice())
	copy(b[16:], to.AsSlice())
	b[23], b[33] = 22, 2
	return b
}

func TestPresharedKey(t *testing.T) {
	a, b := newPair(t)
	pa, pb := a.asPeer(), b.asPeer()
	pa.PresharedKey, pb.PresharedKey = [32]byte{5}, [32]byte{5}
	a.setPeers(t, pb)
	b.setPeers(t, pa)
	a.send(t, b)
}

func TestConfigErrors(t *testing.T) {
	wire, _ := newTwins(Key{1}, Key{2})
	for _, test := range []struct {
		config Config
		err    string
		hint   string
	}{
		{Config{Interface: "meshd0", Backend: "rootless"}, `backend "rootless" is not part of this version`, "use --backend userspace"},
		{Config{Interface: "meshd0", Backend: "warp"}, `unknown backend "warp"`, "use --backend auto, kernel or userspace"},
		{Config{Interface: "meshd0", MTU: 576}, "mtu 576 is out of range 1280..65447", ""},
		{Config{Interface: ""}, `interface name "" is not valid`, hintInterface},
		{Config{Interface: "mesh d0"}, `interface name "mesh d0" is not valid`, hintInterface},
		{Config{Interface: "sixteen-letters-"}, `interface name "sixteen-letters-" is not valid`, hintInterface},
	} {
		test.config.Transport = wire
		_, err := New(test.config)
		e, ok := errors.AsType[*Error](err)
		if !ok || !strings.HasPrefix(err.Error(), test.err) || e.Hint != test.hint {
			t.Errorf("got %q (%v), want %q with hint %q", err, e, test.err, test.hint)
		}
	}
}

func TestPrivateKeyIsHidden(t *testing.T) {
	private, _ := keys(1)
	for _, format := range []string{"%v", "%s", "%#v", "%+v"} {
		if s := fmt.Sprintf(format, Config{PrivateKey: private}); !strings.Contains(s, "(private key)") {
			t.Errorf("%s shows the key: %s", format, s)
		}
	}
}
