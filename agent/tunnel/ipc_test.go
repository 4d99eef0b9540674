package tunnel

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

var sample = "private_key=" + strings.Repeat("77", 32) + "\nlisten_port=41641\n" +
	"public_key=01" + strings.Repeat("00", 31) + "\npreshared_key=05" + strings.Repeat("00", 31) + "\nprotocol_version=1\n" +
	"endpoint=[100::1]:1\nlast_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\ntx_bytes=18446744073709551615\nrx_bytes=2\n" +
	"persistent_keepalive_interval=25\nallowed_ip=100.96.0.7/32\nallowed_ip=fd00::7/128\n" +
	"public_key=02" + strings.Repeat("00", 31) + "\nlast_handshake_time_sec=0\nlast_handshake_time_nsec=0\nsome_later_key=x\n"

func TestParseState(t *testing.T) {
	got, err := parseState([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	want := map[Key]*state{
		{1}: {
			Peer{Key: Key{1}, AllowedIPs: prefixes("100.96.0.7/32", "fd00::7/128"), Keepalive: 25 * time.Second, PresharedKey: [32]byte{5}},
			Stats{LastHandshake: time.Unix(1700000000, 5), RxBytes: 2, TxBytes: 1<<64 - 1},
		},
		{2}: {peer: Peer{Key: Key{2}}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseStateErrors(t *testing.T) {
	peer := "public_key=01" + strings.Repeat("00", 31) + "\n"
	for _, text := range []string{
		"nonsense\n", "\n", "public_key=01\n", "public_key=" + strings.Repeat("zz", 32) + "\n", peer + "allowed_ip=10.0.0.0\n",
		peer + "rx_bytes=-1\n", peer + "persistent_keepalive_interval=\n", peer + "preshared_key=00\n",
	} {
		if got, err := parseState([]byte(text)); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

// What was read and is written for an empty device reads back the same.
func FuzzParseState(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("public_key=\n"))
	f.Add([]byte("a=b\nc"))
	f.Fuzz(func(t *testing.T, text []byte) {
		states, err := parseState(text)
		if err != nil {
			return
		}
		var peers []Peer
		for _, s := range states {
			peers = append(peers, s.peer)
		}
		if peers, err = normal(peers); err != nil {
			return
		}
		var out strings.Builder
		writeChanges(&out, nil, peers)
		again, err := parseState([]byte(out.String()))
		if err != nil || len(again) != len(peers) {
			t.Fatalf("%q: %d peers, %v, want %d", out.String(), len(again), err, len(peers))
		}
	})
}
