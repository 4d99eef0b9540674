package wire

import (
	"encoding/hex"
	"slices"
	"testing"
)

// madeByWireguardGo is an initiation that a real wireguard-go device sent: from
// the private key 00 01 02 … 1f to the private key ff fe fd … e0.
const madeByWireguardGo = "01000000668f7d2b8379179e526405be043bf98f83efeccaff8c085de212a88b6dc74f5ede698834dfe402ca834f27af" +
	"ae427823908597f0b01e9989cd1b5ededb28bf0ea7beca478a0e36dde96b3d0717dabb93b75cb8cf4352c42360cf671ae2e410addd05b419a113a275" +
	"8b89cf849827d7adbac34c6516c73019917a578e7d36e7ba00000000000000000000000000000000"

func initiation(tb testing.TB) []byte {
	tb.Helper()
	b, err := hex.DecodeString(madeByWireguardGo)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func responder(tb testing.TB, first byte) *Responder {
	tb.Helper()
	var private [32]byte
	for i := range private {
		private[i] = first - byte(i)
	}
	r, err := NewResponder(private)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func TestInitiation(t *testing.T) {
	got, err := responder(t, 255).Read(initiation(t))
	if err != nil {
		t.Fatal(err)
	}
	if want := "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f"; hex.EncodeToString(got.Static[:]) != want {
		t.Errorf("from %x, want %s", got.Static, want)
	}
	if want := "400000006b0167b621000000"; hex.EncodeToString(got.Timestamp[:]) != want {
		t.Errorf("at %x, want %s", got.Timestamp, want)
	}
	later := got
	later.Timestamp[7]++
	if !later.After(got) || got.After(later) || got.After(got) {
		t.Error("the order in time is wrong")
	}
}

func TestInitiationsThatAreNone(t *testing.T) {
	r := responder(t, 255)
	for name, b := range map[string][]byte{
		"nothing": nil, "short": initiation(t)[:147], "long": append(initiation(t), 0),
		"a response": slices.Concat([]byte{2}, initiation(t)[1:]),
	} {
		if r.Meant(b) {
			t.Errorf("%s is meant for us", name)
		}
		if i, err := r.Read(b); err == nil {
			t.Errorf("%s reads as %v", name, i)
		}
	}
	if i, err := responder(t, 254).Read(initiation(t)); err == nil {
		t.Errorf("with another key it reads as %v", i)
	}

	t.Log("a change of any byte but those of mac2, which answers a cookie, is seen")
	for n := range initiationMAC1 + 16 {
		b := initiation(t)
		b[n] ^= 1
		if i, err := r.Read(b); err == nil {
			t.Errorf("with byte %d changed it reads as %v", n, i)
		}
	}
}

// FuzzInitiation passes by the cheap check: what is behind it must stand any
// bytes, and believe those alone that the initiator's key made.
func FuzzInitiation(f *testing.F) {
	f.Add(initiation(f))
	f.Add(make([]byte, InitiationSize))
	r := responder(f, 255)
	want, err := r.Read(initiation(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if i, err := r.Read(b); err == nil && i != want {
			t.Errorf("%x reads as %v", b, i)
		}
		if len(b) != InitiationSize {
			return
		}
		if i, err := r.decrypt(b); err == nil && i != want {
			t.Errorf("%x decrypts to %v", b, i)
		}
	})
}

func BenchmarkInitiation(b *testing.B) {
	r, packet := responder(b, 255), initiation(b)
	for b.Loop() {
		if _, err := r.Read(packet); err != nil {
			b.Fatal(err)
		}
	}
}
