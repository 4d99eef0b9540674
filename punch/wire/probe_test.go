package wire

import (
	"bytes"
	"crypto/ecdh"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const hour = 490_000 // in 2025

var sameAddr = cmpopts.EquateComparable(netip.AddrPort{})

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// keys returns a private key made of one repeated byte, and its public key.
func keys(b byte) (private, public [32]byte) {
	private = [32]byte(bytes.Repeat([]byte{b}, 32))
	key, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		panic(err)
	}
	return private, [32]byte(key.PublicKey().Bytes())
}

func pair(t testing.TB, self, peer byte) *Pair {
	t.Helper()
	private, _ := keys(self)
	_, public := keys(peer)
	p, err := NewPair(private, public)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func seal(t testing.TB, p *Pair, m *Message) []byte {
	t.Helper()
	b, err := p.Seal(nil, p.SendTag(hour), m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func connect() *Message {
	return &Message{
		Type: Connect, Flags: FlagReply, Boot: 1 << 63, Seq: 7, TxID: 8, Sent: 9, Generation: 10,
		NAT: NAT{Mapping: AddressPortDependent, Filtering: AddressDependent, Allocation: Sequential, Delta: -2, Low: 1024, High: 65535},
		Candidates: []Candidate{
			{Host, ap("192.168.1.7:41641")},
			{Host, ap("[2001:db8::7]:41641")},
			{Reflexive, ap("203.0.113.9:1025")},
			{Mapped, ap("203.0.113.9:41641")},
		},
		Samples: []uint16{1025, 1023, 1021},
	}
}

func fullConnect() *Message {
	m := &Message{Type: Connect, Candidates: make([]Candidate, MaxCandidates), Samples: make([]uint16, MaxSamples)}
	for i := range m.Candidates {
		m.Candidates[i] = Candidate{Guess, ap("[2001:db8::ffff]:65535")}
	}
	return m
}

func TestProbeRoundTrip(t *testing.T) {
	observed4, observed6 := ap("203.0.113.9:41641"), ap("[2001:db8::9]:41641")
	for _, row := range []struct {
		name string
		m    *Message
		size int
	}{
		{"ping", &Message{Type: Ping, Size: ProbeSize, Boot: 1, Seq: 2, TxID: 3, Sent: 4, Generation: 5}, ProbeSize},
		{"ping, padded", &Message{Type: Ping, Size: 1280}, 1280},
		{"ping, size below the least", &Message{Type: Ping, Size: 1}, ProbeSize},
		{"ping, largest", &Message{Type: Ping, Size: 65507}, 65507},
		{"pong to IPv4", &Message{Type: Pong, Flags: FlagRelayed, TxID: 3, Sent: 4, Observed: observed4}, ProbeSize},
		{"pong to IPv6", &Message{Type: Pong, TxID: 3, Sent: 4, Observed: observed6}, ProbeSize},
		{"pong to a large ping stays small", &Message{Type: Pong, Size: 1280, Observed: observed4}, ProbeSize},
		{"open", &Message{Type: Open, Seq: 1}, ProbeSize},
		{"connect", connect(), 256},
		{"connect without candidates", &Message{Type: Connect}, 128},
		{"connect, a step of a search", &Message{Type: Connect, Flags: FlagReply | FlagReady, Samples: []uint16{20001, 20018}}, 128},
		{"connect, longest", fullConnect(), 640},
		{"type of a later version", &Message{Type: 9, Seq: 1}, ProbeSize},
	} {
		b := seal(t, pair(t, 1, 2), row.m)
		if len(b) != row.size || row.m.Type == Connect && len(b) > MaxConnectSize {
			t.Errorf("%s: got %d bytes, want %d", row.name, len(b), row.size)
		}
		if KindOf(b) != Probe || TagOf(b) != pair(t, 2, 1).ReceiveTag(hour) {
			t.Errorf("%s: tag %x is not what the peer looks for", row.name, TagOf(b))
		}
		got, err := pair(t, 2, 1).OpenProbe(b)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if diff := cmp.Diff(got, row.m, sameAddr, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-got +want):\n%s", row.name, diff)
		}
	}
}

func TestSealAppends(t *testing.T) {
	p := pair(t, 1, 2)
	b, err := p.Seal([]byte("head"), p.SendTag(hour), &Message{Type: Ping})
	if err != nil || !strings.HasPrefix(string(b), "head") {
		t.Fatalf("got %q, %v", b, err)
	}
	if _, err := pair(t, 2, 1).OpenProbe(b[4:]); err != nil {
		t.Error(err)
	}
}

func TestSealTwice(t *testing.T) {
	p, m := pair(t, 1, 2), &Message{Type: Ping}
	if a, b := seal(t, p, m), seal(t, p, m); bytes.Equal(a[12:], b[12:]) {
		t.Error("two probes have the same nonce")
	}
}

func TestSealTooLong(t *testing.T) {
	p := pair(t, 1, 2)
	for _, m := range []*Message{
		{Type: Connect, Candidates: make([]Candidate, MaxCandidates+1)},
		{Type: Connect, Samples: make([]uint16, MaxSamples+1)},
	} {
		if _, err := p.Seal(nil, p.SendTag(hour), m); err == nil {
			t.Errorf("%d candidates, %d samples: got no error", len(m.Candidates), len(m.Samples))
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	alice, bob := pair(t, 1, 2), pair(t, 2, 1)
	b := seal(t, alice, &Message{Type: Ping, Seq: 1})
	for i := range b {
		tampered := slices.Clone(b)
		tampered[i] ^= 1
		if _, err := bob.OpenProbe(tampered); !errors.Is(err, ErrProbe) {
			t.Fatalf("byte %d tampered with: got %v, want %v", i, err, ErrProbe)
		}
	}
	for i := range b {
		if _, err := bob.OpenProbe(b[:i]); !errors.Is(err, ErrProbe) {
			t.Fatalf("cut to %d bytes: got %v, want %v", i, err, ErrProbe)
		}
	}
	if _, err := bob.OpenProbe(append(slices.Clone(b), 0)); !errors.Is(err, ErrProbe) {
		t.Errorf("one byte longer: got %v, want %v", err, ErrProbe)
	}
	for _, row := range []struct {
		name       string
		self, peer byte
	}{
		{"reflected to its sender", 1, 2},
		{"seen by another of the receiver's peers", 3, 1},
		{"tried by the receiver for another peer", 2, 3},
		{"tried by a pair with itself", 1, 1},
	} {
		if _, err := pair(t, row.self, row.peer).OpenProbe(b); !errors.Is(err, ErrProbe) {
			t.Errorf("%s: got %v, want %v", row.name, err, ErrProbe)
		}
	}
	if _, err := pair(t, 1, 1).OpenProbe(seal(t, pair(t, 1, 1), &Message{Type: Ping})); !errors.Is(err, ErrProbe) {
		t.Errorf("own probe to oneself: got %v, want %v", err, ErrProbe)
	}
}

func TestTag(t *testing.T) {
	alice, bob := pair(t, 1, 2), pair(t, 2, 1)
	if got, want := bob.ReceiveTag(hour), alice.SendTag(hour); got != want {
		t.Errorf("got %x, want %x", got, want)
	}
	seen := map[Tag]string{}
	for name, tag := range map[string]Tag{
		"alice to bob":              alice.SendTag(hour),
		"alice to bob, next hour":   alice.SendTag(hour + 1),
		"alice to bob, hour before": alice.SendTag(hour - 1),
		"bob to alice":              bob.SendTag(hour),
		"alice to carol":            pair(t, 1, 3).SendTag(hour),
		"carol to bob":              pair(t, 3, 2).SendTag(hour),
	} {
		if other, ok := seen[tag]; ok {
			t.Errorf("%s has the tag of %s", name, other)
		}
		seen[tag] = name
	}
}

func TestNewPairRefuses(t *testing.T) {
	private, _ := keys(1)
	if _, err := NewPair(private, [32]byte{}); err == nil {
		t.Error("peer key of low order: got no error")
	}
	if _, err := NewPair(private, [32]byte{1}); err == nil {
		t.Error("another peer key of low order: got no error")
	}
}

// TestProbeKeys holds the derivation: both ends of a mesh may run different versions.
func TestProbeKeys(t *testing.T) {
	p := pair(t, 1, 2)
	if got, want := p.SendTag(hour), (Tag{0xbc, 0xeb, 0x2e, 0x27, 0x0a, 0x78, 0x00, 0x21}); got != want {
		t.Errorf("got tag %x, want %x", got, want)
	}
	sealed := unhex(`d16d7368 bceb2e270a780021
		9f5a429aec055b09dc34378c193cdcb0a187f83dd1a1360e
		bc8631b19c613cc3747979bfd4960a13d7f1c2959b87af69d81db0beb70909cd
		c03dc395850b9fb61411ec0ecc2c5aa6298629b6d5fd202f0d7a3a705e53b2a2
		25d5e7d040250292e3ac35536419706189991686bbf4419436ac3352`)
	got, err := pair(t, 2, 1).OpenProbe(sealed)
	if err != nil {
		t.Fatal(err)
	}
	want := &Message{Type: Pong, Size: ProbeSize, Boot: 1, Seq: 2, TxID: 3, Sent: 4, Generation: 5, Observed: ap("203.0.113.9:41641")}
	if diff := cmp.Diff(got, want, sameAddr); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
}

func TestParseBody(t *testing.T) {
	whole := appendBody(nil, connect())
	end := bodySize + natSize + 1 + 4*(1+addrSize) + 1 + 2*3
	for i := range end {
		if _, err := parseBody(whole[:i]); !errors.Is(err, ErrProbe) {
			t.Errorf("cut to %d of %d bytes: got %v, want %v", i, end, err, ErrProbe)
		}
	}
	if _, err := parseBody(whole[:end]); err != nil {
		t.Errorf("without padding: %v", err)
	}

	lists := func(candidates, samples byte) []byte {
		b := appendBody(nil, &Message{Type: Connect})[:bodySize+natSize]
		b = append(b, candidates)
		b = append(b, make([]byte, int(candidates)*(1+addrSize))...)
		b = append(b, samples)
		return append(b, make([]byte, int(samples)*2)...)
	}
	if _, err := parseBody(lists(MaxCandidates, MaxSamples)); err != nil {
		t.Errorf("longest lists: %v", err)
	}
	if _, err := parseBody(lists(MaxCandidates+1, 0)); !errors.Is(err, ErrProbe) {
		t.Errorf("too many candidates: got %v, want %v", err, ErrProbe)
	}
	if _, err := parseBody(lists(0, MaxSamples+1)); !errors.Is(err, ErrProbe) {
		t.Errorf("too many samples: got %v, want %v", err, ErrProbe)
	}
}

func TestParseConnectSorts(t *testing.T) {
	t.Log("what is of no use, or of a later version, is left out")
	good := Candidate{Host, ap("192.168.1.7:41641")}
	m := &Message{
		Type: Connect,
		NAT:  NAT{Mapping: 4, Filtering: 200, Allocation: 9, Delta: -5, Low: 2000, High: 1000},
		Candidates: []Candidate{
			{Host, netip.AddrPort{}}, {Host, ap("192.168.1.7:0")}, {Host, ap("0.0.0.0:5")}, {Host, ap("[::]:5")}, {Host, ap("224.0.0.251:5353")}, good,
		},
	}
	got, err := parseBody(appendBody(nil, m))
	if err != nil {
		t.Fatal(err)
	}
	if want := []Candidate{good}; !slices.Equal(got.Candidates, want) {
		t.Errorf("got candidates %v, want %v", got.Candidates, want)
	}
	if want := (NAT{Delta: -5}); got.NAT != want {
		t.Errorf("got %+v, want %+v", got.NAT, want)
	}
}

func TestNames(t *testing.T) {
	for _, row := range []struct{ got, want string }{
		{Ping.String(), "ping"}, {Pong.String(), "pong"}, {Open.String(), "open"}, {Connect.String(), "connect"}, {ProbeType(9).String(), "probe(9)"},
		{Host.String(), "host"}, {Reflexive.String(), "reflexive"}, {Mapped.String(), "mapped"}, {Observed.String(), "observed"}, {Guess.String(), "guess"},
		{CandidateKind(9).String(), "unknown"},
	} {
		if row.got != row.want {
			t.Errorf("got %q, want %q", row.got, row.want)
		}
	}
}

// FuzzParseBody reads what an authentic but hostile peer may send: what was
// read is encoded again, and reads the same.
func FuzzParseBody(f *testing.F) {
	for _, m := range []*Message{{Type: Ping, Size: 128}, {Type: Pong, Observed: ap("203.0.113.9:41641")}, {Type: Open}, connect(), fullConnect()} {
		f.Add(appendBody(nil, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseBody(b)
		if err != nil {
			return
		}
		again, err := parseBody(appendBody(nil, got))
		if err != nil {
			t.Fatalf("%+v does not read after encoding: %v", got, err)
		}
		if diff := cmp.Diff(again, got, sameAddr); diff != "" {
			t.Fatalf("after encoding again (-got +want):\n%s", diff)
		}
	})
}

func FuzzOpenProbe(f *testing.F) {
	alice, bob := pair(f, 1, 2), pair(f, 2, 1)
	f.Add(seal(f, alice, &Message{Type: Ping}))
	f.Add(seal(f, alice, connect()))
	f.Add(message(probeOverhead, 0xd1, 'm', 's', 'h'))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := bob.OpenProbe(b); (m == nil) == (err == nil) {
			t.Fatalf("got %v, %v: want one of them", m, err)
		}
	})
}

func BenchmarkProbe(b *testing.B) {
	from, to := pair(b, 1, 2), pair(b, 2, 1)
	tag := from.SendTag(hour)
	m := &Message{Type: Ping, Size: ProbeSize, Boot: 1, Seq: 2, TxID: 3}
	var sealed []byte
	for b.Loop() {
		var err error
		if sealed, err = from.Seal(sealed[:0], tag, m); err != nil {
			b.Fatal(err)
		}
		if _, err := to.OpenProbe(sealed); err != nil {
			b.Fatal(err)
		}
	}
}
