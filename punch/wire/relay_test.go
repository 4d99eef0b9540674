package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

var relayKey = RelayKey(bytes.Repeat([]byte{7}, 32))

func TestHeader(t *testing.T) {
	for _, row := range []struct {
		header Header
		want   string
	}{
		{Header{Data, false, 0x0102, 0x0a0b0c0d}, "d2 01 0102 0a0b0c0d"},
		{Header{Data, true, 0x0102, 0x0a0b0c0d}, "d2 81 0102 0a0b0c0d"},
		{Header{Reset, false, 0, 1}, "d2 06 0000 00000001"},
		{Header{99, false, 0xffff, 0xffffffff}, "d2 63 ffff ffffffff"},
	} {
		b := AppendHeader([]byte("x"), row.header)
		if want := append([]byte("x"), unhex(row.want)...); !bytes.Equal(b, want) {
			t.Errorf("%+v: got %x, want %x", row.header, b, want)
		}
		if got, err := ParseHeader(append(b[1:], "payload"...)); got != row.header || err != nil {
			t.Errorf("got %+v, %v, want %+v", got, err, row.header)
		}
	}
	for _, b := range []string{"", "d2", "d2 01 0102 0a0b0c", "d1 01 0102 0a0b0c0d"} {
		if _, err := ParseHeader(unhex(b)); !errors.Is(err, ErrRelay) {
			t.Errorf("%q: got %v, want %v", b, err, ErrRelay)
		}
	}
}

func welcome() *Session {
	return &Session{
		Header: Header{Welcome, false, 0x0102, 0x0a0b0c0d}, Nonce: 0x1122334455667788, Time: 1_700_000_000_000,
		Observed: ap("203.0.113.9:41641"), Cookie: [16]byte([]byte("0123456789abcdef")),
	}
}

func TestSession(t *testing.T) {
	for _, row := range []struct {
		name string
		s    *Session
		want string
	}{
		{
			"welcome", welcome(),
			"d2 05 0102 0a0b0c0d 1122334455667788 0000018bcfe56800" +
				"00000000000000000000ffffcb007109 a2a9 30313233343536373839616263646566 000000000000",
		},
		{
			"hello", &Session{Header: Header{Hello, false, 0, 1}, Nonce: 2},
			"d2 02 0000 00000001 0000000000000002 0000000000000000" +
				"00000000000000000000000000000000 0000 00000000000000000000000000000000 000000000000",
		},
		{
			"challenge, IPv6, clock before 1970", &Session{Header: Header{Challenge, false, 3, 1}, Time: -1, Observed: ap("[2001:db8::9]:41641")},
			"d2 03 0003 00000001 0000000000000000 ffffffffffffffff" +
				"20010db8000000000000000000000009 a2a9 00000000000000000000000000000000 000000000000",
		},
	} {
		b := AppendSession(nil, row.s, relayKey)
		if len(b) != SessionSize || !bytes.Equal(b[:macOffset], unhex(row.want)) {
			t.Errorf("%s: got %x, want %s and a MAC", row.name, b, row.want)
		}
		if KindOf(b) != Relay || !VerifySession(b, relayKey) {
			t.Errorf("%s: is not accepted", row.name)
		}
		got, err := ParseSession(b)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if diff := cmp.Diff(got, row.s, sameAddr); diff != "" {
			t.Errorf("%s (-got +want):\n%s", row.name, diff)
		}
	}
}

// TestSessionMAC holds the MAC: both ends of a session may run different versions.
func TestSessionMAC(t *testing.T) {
	b := AppendSession([]byte("head"), welcome(), relayKey)[4:]
	if want := unhex("9a3d9a5515715ce4fac0682d9bc77bff"); !bytes.Equal(b[macOffset:], want) {
		t.Errorf("got MAC %x, want %x", b[macOffset:], want)
	}
	for i := range b {
		tampered := bytes.Clone(b)
		tampered[i] ^= 0x80
		if VerifySession(tampered, relayKey) {
			t.Errorf("byte %d tampered with: is accepted", i)
		}
	}
	if VerifySession(b, RelayKey{}) {
		t.Error("another member's key: is accepted")
	}
	if VerifySession(b[:SessionSize-1], relayKey) || VerifySession(append(b, 0), relayKey) || VerifySession(nil, relayKey) {
		t.Error("wrong length: is accepted")
	}
}

func TestParseSessionRefuses(t *testing.T) {
	good := AppendSession(nil, welcome(), relayKey)
	for kind := range 256 {
		b := bytes.Clone(good)
		b[1] = byte(kind)
		_, err := ParseSession(b)
		session := kind >= int(Hello) && kind <= int(Welcome)
		if session != (err == nil) {
			t.Errorf("type %d: got %v", kind, err)
		}
	}
	for _, b := range [][]byte{nil, good[:HeaderSize], good[:SessionSize-1], append(bytes.Clone(good), 0)} {
		if _, err := ParseSession(b); !errors.Is(err, ErrRelay) {
			t.Errorf("%d bytes: got %v, want %v", len(b), err, ErrRelay)
		}
	}
}

func TestRelayKeyIsHidden(t *testing.T) {
	for _, verb := range []string{"%v", "%+v", "%s", "%x", "%q", "%#v", "%d"} {
		if got := fmt.Sprintf(verb, struct{ Key RelayKey }{relayKey}); !strings.Contains(got, "(relay key)") {
			t.Errorf("%s shows %s", verb, got)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(unhex("d2 01 0102 0a0b0c0d"))
	f.Add(unhex("d2 06 0000 00000001 00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err != nil {
			return
		}
		if again := AppendHeader(nil, h); !bytes.Equal(again, b[:HeaderSize]) {
			t.Fatalf("got %x after encoding again, want %x", again, b[:HeaderSize])
		}
	})
}

func FuzzParseSession(f *testing.F) {
	f.Add(AppendSession(nil, welcome(), relayKey))
	f.Add(AppendSession(nil, &Session{Header: Header{Hello, false, 0, 1}, Nonce: 2}, relayKey))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSession(b)
		if err != nil {
			return
		}
		again, err := ParseSession(AppendSession(nil, s, relayKey))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(again, s, sameAddr); diff != "" {
			t.Fatalf("after encoding again (-got +want):\n%s", diff)
		}
		// What is authentic was made by AppendSession, from no other content.
		if VerifySession(b, relayKey) && !bytes.Equal(AppendSession(nil, s, relayKey), b) {
			t.Fatalf("%x is authentic, but encodes differently", b)
		}
	})
}

func TestPairID(t *testing.T) {
	pair := PairID(7, 12)
	if PairID(12, 7) != pair || PairID(pair, 7) != 12 || PairID(pair, 12) != 7 || PairID(7, 7) != 0 {
		t.Errorf("the pair of 7 and 12 is %d, which does not tell one from the other", pair)
	}
}
