package tunnel

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

func TestPeerChanges(t *testing.T) {
	a, b := Key{1}, Key{2}
	prefixes := func(list string) (all []netip.Prefix) {
		for _, s := range strings.Fields(list) {
			all = append(all, netip.MustParsePrefix(s))
		}
		return all
	}
	have := func(k Key, allowed string, keepalive time.Duration) wgtypes.Peer {
		return wgtypes.Peer{PublicKey: wgtypes.Key(k), AllowedIPs: toIPNets(prefixes(allowed)), PersistentKeepaliveInterval: keepalive}
	}
	want := func(k Key, allowed string, keepalive time.Duration) Peer {
		return Peer{Key: k, AllowedIPs: prefixes(allowed), Keepalive: keepalive}
	}
	for _, test := range []struct {
		name string
		have []wgtypes.Peer
		want []Peer
		get  string
	}{
		{"nothing", nil, nil, ""},
		{"new", nil, []Peer{want(a, "100.96.0.2/32 fd00::2/128", 25*time.Second)}, "1: endpoint 127.0.0.1:7, keepalive 25s, psk, = 100.96.0.2/32 fd00::2/128"},
		{"same in another order", []wgtypes.Peer{have(a, "fd00::2/128 100.96.0.2/32", 0)}, []Peer{want(a, "100.96.0.2/32 fd00::2/128", 0)}, ""},
		{"keepalive", []wgtypes.Peer{have(a, "100.96.0.2/32", 0)}, []Peer{want(a, "100.96.0.2/32", 25*time.Second)}, "1: update, keepalive 25s"},
		{"keepalive off", []wgtypes.Peer{have(a, "", 25*time.Second)}, []Peer{want(a, "", 0)}, "1: update, keepalive 0s"},
		{"a prefix more", []wgtypes.Peer{have(a, "10.0.0.1/32", 0)}, []Peer{want(a, "10.0.0.1/32 10.1.0.0/16", 0)}, "1: update, + 10.1.0.0/16"},
		{"a prefix less", []wgtypes.Peer{have(a, "10.0.0.1/32 10.1.0.0/16", 0)}, []Peer{want(a, "10.0.0.1/32", 0)}, "1: update, = 10.0.0.1/32"},
		{"foreign and gone", []wgtypes.Peer{have(a, "10.0.0.1/32", 0)}, nil, "1: remove"},
		{"a prefix moves", []wgtypes.Peer{have(a, "10.0.0.1/32 10.1.0.0/16", 0), have(b, "10.0.0.2/32", 0)},
			[]Peer{want(a, "10.0.0.1/32", 0), want(b, "10.0.0.2/32 10.1.0.0/16", 0)}, "2: update, + 10.1.0.0/16; 1: update, = 10.0.0.1/32"},
	} {
		wanted := make(map[Key]Peer)
		for _, p := range test.want {
			wanted[p.Key] = p
		}
		endpoint := func(Key) netip.AddrPort { return netip.MustParseAddrPort("127.0.0.1:7") }
		if got := inWords(peerChanges(test.have, wanted, endpoint)); got != test.get {
			t.Errorf("%s: got %q, want %q", test.name, got, test.get)
		}
	}
}

func inWords(changes []wgtypes.PeerConfig) string {
	var all []string
	for _, c := range changes {
		var words []string
		if c.Remove {
			words = append(words, "remove")
		}
		if c.UpdateOnly {
			words = append(words, "update")
		}
		if c.Endpoint != nil {
			words = append(words, "endpoint "+c.Endpoint.String())
		}
		if c.PersistentKeepaliveInterval != nil {
			words = append(words, "keepalive "+c.PersistentKeepaliveInterval.String())
		}
		if c.PresharedKey != nil {
			words = append(words, "psk")
		}
		if len(c.AllowedIPs) > 0 {
			sign := "+"
			if c.ReplaceAllowedIPs {
				sign = "="
			}
			for _, n := range c.AllowedIPs {
				sign += " " + n.String()
			}
			words = append(words, sign)
		}
		all = append(all, fmt.Sprintf("%d: %s", c.PublicKey[0], strings.Join(words, ", ")))
	}
	return strings.Join(all, "; ")
}

// TestTurnWakesASession holds that a session that is kept alive is used at once,
// and that its keepalive is what it was.
func TestTurnWakesASession(t *testing.T) {
	to := netip.MustParseAddrPort("[2001:db8::1]:7")
	for _, row := range []struct {
		keepalive time.Duration
		wake      bool
		want      string
	}{
		{0, true, "1: update, endpoint [2001:db8::1]:7"},
		{25 * time.Second, false, "1: update, endpoint [2001:db8::1]:7"},
		{25 * time.Second, true, "1: update, endpoint [2001:db8::1]:7, keepalive 0s; 1: update, keepalive 25s"},
	} {
		var all []wgtypes.PeerConfig
		for _, c := range turn(Key{1}, to, row.keepalive, row.wake) {
			all = append(all, c.Peers...)
		}
		if got := inWords(all); got != row.want {
			t.Errorf("keepalive %v, wake %v: got %q, want %q", row.keepalive, row.wake, got, row.want)
		}
	}
}

func TestPrefixesOfTheKernel(t *testing.T) {
	nets := []net.IPNet{
		{IP: net.IPv4(10, 0, 0, 1), Mask: net.CIDRMask(32, 32)}, // 16 bytes long
		{IP: net.IP{10, 1, 0, 0}, Mask: net.CIDRMask(16, 32)},
		{IP: net.ParseIP("fd00::"), Mask: net.CIDRMask(8, 128)},
		{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
	}
	want := "[10.0.0.1/32 10.1.0.0/16 fd00::/8 ::/0]"
	if got := fmt.Sprint(toPrefixes(nets)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestSessionsOfTheKernel: it has one with a peer from a handshake on, for three minutes.
func TestSessionsOfTheKernel(t *testing.T) {
	var m meter
	begin := time.Unix(1000, 0)
	for _, row := range []struct {
		what       string
		after      time.Duration // since the story began
		shook      time.Time     // what the kernel says
		new, alive bool
	}{
		{"never", 0, time.Time{}, false, false},
		{"a handshake", 1 * time.Second, time.Unix(1, 0), true, true},
		{"the same", 180 * time.Second, time.Unix(1, 0), false, true},
		{"it is too old", 181 * time.Second, time.Unix(1, 0), false, false},
		{"the next", 200 * time.Second, time.Unix(9, 0), true, true},
		{"somebody made the peer anew", 201 * time.Second, time.Time{}, false, false},
		{"another", 202 * time.Second, time.Unix(9, 0), true, true},
	} {
		now := begin.Add(row.after)
		if isNew, alive := m.shake(row.shook, now), m.alive(now); isNew != row.new || alive != row.alive {
			t.Errorf("%s: new %v, alive %v, want %v and %v", row.what, isNew, alive, row.new, row.alive)
		}
	}
	if (*meter)(nil).alive(begin) {
		t.Error("a peer that was never looked at is alive")
	}
}
