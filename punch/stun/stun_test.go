package stun

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	pion "github.com/pion/stun/v3"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		panic(err)
	}
	return b
}

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

var (
	id     = TxID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	client = ap("203.0.113.9:41641")
	primus = ap("198.51.100.1:3478")
	second = ap("198.51.100.2:3479")
)

func TestRequest(t *testing.T) {
	const head = "2112a442 0102030405060708090a0b0c"
	for _, row := range []struct {
		change Change
		want   string
	}{
		{Change{}, "0001 0000" + head},
		{Change{IP: true}, "0001 0008" + head + "0003 0004 00000004"},
		{Change{Port: true}, "0001 0008" + head + "0003 0004 00000002"},
		{Change{IP: true, Port: true}, "0001 0008" + head + "0003 0004 00000006"},
	} {
		if got := Request(id, row.change); !bytes.Equal(got, unhex(row.want)) {
			t.Errorf("%+v: got %x, want %s", row.change, got, row.want)
		}
	}
}

// Responses of RFC 5769 §2.2 and §2.3: with SOFTWARE, MESSAGE-INTEGRITY and
// FINGERPRINT, XOR-MAPPED-ADDRESS 192.0.2.1:32853 and its IPv6 twin.
var (
	rfc5769v4 = unhex(`0101003c 2112a442 b7e7a701bc34d686fa87dfae
		8022000b 7465737420766563746f7220 00200008 0001a147e112a643
		00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004 c07d4c96`)
	rfc5769v6 = unhex(`01010048 2112a442 b7e7a701bc34d686fa87dfae
		8022000b 7465737420766563746f7220 00200014 0002a1470113a9faa5d3f179bc25f4b5bed2b9d9
		00080014 a382954e4be67bf11784c97c8292c275bfe3ed41 80280004 c8fb0b4c`)
)

func TestParseResponse(t *testing.T) {
	tx := TxID(unhex("b7e7a701bc34d686fa87dfae"))
	broken := slices.Clone(rfc5769v4)
	broken[len(broken)-1]++
	head := func(kind, length string) string { return kind + length + "2112a442 0102030405060708090a0b0c" }
	for _, row := range []struct {
		name string
		data []byte
		want Response
		err  error
	}{
		{"RFC 5769 §2.3 less what only authentication adds", rfc5769("v6"), Response{TxID: tx, Mapped: ap("[2001:db8:1234:5678:11:2233:4455:6677]:32853")}, nil},
		{"RFC 5769 §2.2 less what only authentication adds", rfc5769("v4"), Response{TxID: tx, Mapped: ap("192.0.2.1:32853")}, nil},
		{"attribute that must be understood", rfc5769v4, Response{}, ErrMessage},
		{"wrong fingerprint", broken, Response{}, ErrMessage},
		{"old server", unhex(head("0101", "0018") + "0001 0008 0001 a2a9 cb007109 0004 0008 0001 0d96 c6336401"), Response{TxID: id, Mapped: client}, nil},
		{"IPv4 as IPv6", unhex(head("0101", "0018") + "0001 0014 0002 a2a9 00000000000000000000ffffcb007109"), Response{TxID: id, Mapped: client}, nil},
		{"empty", nil, Response{}, ErrMessage},
		{"header only", unhex(head("0101", "0000")), Response{}, ErrMessage},
		{"address too short", unhex(head("0101", "000c") + "0020 0005 0001 a2a9 cb000000"), Response{}, ErrMessage},
		{"address too long", unhex(head("0101", "0010") + "0020 000c 0001 a2a9 cb007109 cb007109"), Response{}, ErrMessage},
		{"family unknown", unhex(head("0101", "000c") + "0020 0008 0003 a2a9 cb007109"), Response{}, ErrMessage},
		{"port zero", unhex(head("0101", "000c") + "0001 0008 0001 0000 cb007109"), Response{}, ErrMessage},
		{"address zero", unhex(head("0101", "000c") + "0001 0008 0001 a2a9 00000000"), Response{}, ErrMessage},
		{"cut short", rfc5769("v4")[:28], Response{}, ErrMessage},
		{"longer than it says", append(rfc5769("v4"), 0, 0, 0, 0), Response{}, ErrMessage},
		{"request", Request(id, Change{}), Response{}, ErrMessage},
		{"indication", unhex(head("0011", "0000")), Response{}, ErrMessage},
		{"another method", unhex(head("0103", "000c") + "0001 0008 0001 a2a9 cb007109"), Response{}, ErrMessage},
		{"no cookie", unhex("0101 000c 00000000 0102030405060708090a0b0c 0001 0008 0001 a2a9 cb007109"), Response{}, ErrMessage},
		{"error without a code", unhex(head("0111", "0000")), Response{TxID: id}, ErrMessage},
	} {
		got, err := ParseResponse(row.data)
		if got != row.want || !errors.Is(err, row.err) {
			t.Errorf("%s: got %+v, %v, want %+v, %v", row.name, got, err, row.want, row.err)
		}
	}
}

// rfc5769 returns a test vector up to its MESSAGE-INTEGRITY, as a server
// without authentication would send it.
func rfc5769(family string) []byte {
	b := rfc5769v4
	if family == "v6" {
		b = rfc5769v6
	}
	b = slices.Clone(b[:len(b)-24-8])
	b[3] -= 24 + 8
	return b
}

func TestParseError(t *testing.T) {
	m := pion.MustBuild(pion.NewTransactionIDSetter(id), pion.BindingError, pion.CodeUnknownAttribute)
	got, err := ParseResponse(m.Raw)
	var refused *Error
	if !errors.As(err, &refused) || refused.Code != 420 || got.TxID != id {
		t.Errorf("got %+v, %v, want code 420", got, err)
	}
	if want := `server refuses the STUN request: 420 "Unknown Attribute"`; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

func TestRespond(t *testing.T) {
	twoPorts := ap("198.51.100.1:3479")
	unknownPorts := ap("0.0.0.0:3479")
	for _, row := range []struct {
		name   string
		change Change
		local  netip.AddrPort
		other  netip.AddrPort
		want   Response
		code   int // of a refusal
	}{
		{"plain", Change{}, primus, second, Response{Origin: primus, Other: second}, 0},
		{"other IP", Change{IP: true}, primus, second, Response{Origin: ap("198.51.100.2:3478"), Other: second}, 0},
		{"other port", Change{Port: true}, primus, second, Response{Origin: ap("198.51.100.1:3479"), Other: second}, 0},
		{"other both", Change{IP: true, Port: true}, primus, second, Response{Origin: second, Other: second}, 0},
		{"two ports: plain", Change{}, primus, twoPorts, Response{Origin: primus}, 0},
		{"two ports: other port", Change{Port: true}, primus, twoPorts, Response{Origin: twoPorts}, 0},
		{"two ports: other IP", Change{IP: true}, primus, twoPorts, Response{}, 420},
		{"two ports: other both", Change{IP: true, Port: true}, primus, twoPorts, Response{}, 420},
		{"alone: plain", Change{}, primus, netip.AddrPort{}, Response{Origin: primus}, 0},
		{"alone: other port", Change{Port: true}, primus, netip.AddrPort{}, Response{}, 420},
		{"own address unknown: other port", Change{Port: true}, ap("0.0.0.0:3478"), unknownPorts, Response{}, 0},
	} {
		reply, ok := Respond(Request(id, row.change), client, row.local, row.other)
		if !ok {
			t.Errorf("%s: got no answer", row.name)
			continue
		}
		row.want.TxID = id
		if row.code == 0 {
			row.want.Mapped = client
			if got := (Change{reply.FromOtherIP, reply.FromOtherPort}); got != row.change {
				t.Errorf("%s: got answer from %+v, want %+v", row.name, got, row.change)
			}
		}
		got, err := ParseResponse(reply.Data)
		if got != row.want {
			t.Errorf("%s: got %+v, want %+v", row.name, got, row.want)
		}
		if refused := (*Error)(nil); errors.As(err, &refused) != (row.code != 0) || refused != nil && refused.Code != row.code {
			t.Errorf("%s: got %v, want code %d", row.name, err, row.code)
		}
	}
}

func TestInquiry(t *testing.T) {
	if got, want := Inquiry(id), unhex("0001 0008 2112a442 0102030405060708090a0b0c 0003 0004 00000000"); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	reply, ok := Respond(Inquiry(id), client, primus, netip.AddrPort{})
	if _, err := ParseResponse(reply.Data); !ok || err != nil || reply.FromOtherIP || reply.FromOtherPort {
		t.Errorf("got %+v, %v, want an answer from where it was asked", reply, err)
	}
}

func TestRespondToAnotherPort(t *testing.T) {
	if got, want := RequestTo(id, 41642), unhex("0001 0008 2112a442 0102030405060708090a0b0c 0027 0004 a2aa 0000"); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	const head = " 2112a442 0102030405060708090a0b0c "
	for _, row := range []struct {
		name    string
		request []byte
		port    uint16
		refused bool
	}{
		{"not asked for", Request(id, Change{}), client.Port(), false},
		{"asked for", RequestTo(id, 41642), 41642, false},
		{"length without padding", unhex("0001 0008" + head + "0027 0002 a2aa 0000"), 41642, false},
		{"port zero", RequestTo(id, 0), client.Port(), true},
		{"no value", unhex("0001 0004" + head + "0027 0000"), client.Port(), true},
	} {
		reply, ok := Respond(row.request, client, primus, second)
		_, err := ParseResponse(reply.Data)
		if !ok || reply.Port != row.port || (err != nil) != row.refused {
			t.Errorf("%s: got port %d, %v, want %d", row.name, reply.Port, err, row.port)
		}
	}
}

func TestRespondIPv6(t *testing.T) {
	src, local, other := ap("[2001:db8::9]:41641"), ap("[2001:db8::1]:3478"), ap("[2001:db8::2]:3479")
	reply, ok := Respond(Request(id, Change{}), src, local, other)
	got, err := ParseResponse(reply.Data)
	if want := (Response{TxID: id, Mapped: src, Origin: local, Other: other}); !ok || err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if len(reply.Data) != MaxReply {
		t.Errorf("got %d bytes, want %d", len(reply.Data), MaxReply)
	}
}

func TestRespondToOldClient(t *testing.T) {
	t.Log("a client of RFC 3489 has no cookie, but 16 bytes of transaction ID")
	const tx = "aaaaaaaa 0102030405060708090a0b0c"
	reply, ok := Respond(unhex("0001 0008"+tx+"0003 0004 00000002"), client, primus, second)
	want := unhex("0101 0024" + tx + "0001 0008 0001 a2a9 cb007109 0004 0008 0001 0d97 c6336401 0005 0008 0001 0d97 c6336402")
	if !ok || !bytes.Equal(reply.Data, want) || reply.FromOtherIP || !reply.FromOtherPort {
		t.Errorf("got %x %+v, want %x", reply.Data, reply, want)
	}
	reply, ok = Respond(unhex("0001 000c"+tx+"0002 0008 0001 a2a9 cb007109"), client, primus, second)
	if want := unhex("0111 0024" + tx); !ok || !bytes.HasPrefix(reply.Data, want) {
		t.Errorf("RESPONSE-ADDRESS, a way to send strangers packets: got %x, want a refusal %x…", reply.Data, want)
	}
}

func TestRespondUnknownAttributes(t *testing.T) {
	m := pion.MustBuild(pion.NewTransactionIDSetter(id), pion.BindingRequest)
	var want pion.UnknownAttributes
	for kind := pion.AttrType(0x7000); kind < 0x7014; kind++ {
		m.Add(kind, nil)
		want = append(want, kind)
	}
	m.Add(0x9000, []byte("optional"))
	reply, ok := Respond(m.Raw, client, primus, second)
	if !ok || len(reply.Data) > MaxReply || reply.FromOtherIP || reply.FromOtherPort {
		t.Fatalf("got %+v, want a refusal of at most %d bytes", reply, MaxReply)
	}
	answer := &pion.Message{Raw: reply.Data}
	var got pion.UnknownAttributes
	if err := errors.Join(answer.Decode(), got.GetFrom(answer)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, want[:maxUnknown]); diff != "" {
		t.Errorf("unknown attributes (-got +want):\n%s", diff)
	}
}

func TestRespondIgnores(t *testing.T) {
	good := Request(id, Change{IP: true})
	fingerprint := pion.MustBuild(pion.NewTransactionIDSetter(id), pion.BindingRequest, pion.Fingerprint).Raw
	if _, ok := Respond(fingerprint, client, primus, second); !ok {
		t.Error("request with fingerprint: got no answer")
	}
	fingerprint[len(fingerprint)-1]++
	for _, row := range []struct {
		name string
		data []byte
		src  netip.AddrPort
	}{
		{"nothing", nil, client},
		{"half a header", good[:10], client},
		{"cut short", good[:24], client},
		{"longer than it says", append(slices.Clone(good), 0, 0, 0, 0), client},
		{"attribute beyond the end", unhex("0001 0004 2112a442 0102030405060708090a0b0c 0003 0004"), client},
		{"response", rfc5769v4, client},
		{"indication", unhex("0011 0000 2112a442 0102030405060708090a0b0c"), client},
		{"TURN allocation", unhex("0003 0000 2112a442 0102030405060708090a0b0c"), client},
		{"wrong fingerprint", fingerprint, client},
		{"WireGuard keepalive", append(unhex("04000000 2112a442"), make([]byte, 24)...), client},
		{"source port zero", good, netip.AddrPortFrom(client.Addr(), 0)},
		{"no source", good, netip.AddrPort{}},
	} {
		if reply, ok := Respond(row.data, row.src, primus, second); ok {
			t.Errorf("%s: got %x, want no answer", row.name, reply.Data)
		}
	}
	reply, ok := Respond(unhex("0001 0004 2112a442 0102030405060708090a0b0c 0003 0000"), client, primus, second)
	if _, err := ParseResponse(reply.Data); !ok || !strings.Contains(err.Error(), "420") {
		t.Errorf("CHANGE-REQUEST without value: got %v, want a refusal", err)
	}
}

func FuzzParseResponse(f *testing.F) {
	f.Add(rfc5769v4)
	f.Add(rfc5769v6)
	f.Add(rfc5769("v4"))
	f.Add(rfc5769("v6"))
	reply, _ := Respond(Request(id, Change{}), client, primus, second)
	f.Add(reply.Data)
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		r, err := ParseResponse(b)
		if !bytes.Equal(b, before) {
			t.Fatal("input was changed")
		}
		if err != nil {
			return
		}
		if !r.Mapped.IsValid() || r.Mapped.Port() == 0 || r.Mapped.Addr().Is4In6() {
			t.Fatalf("mapped address %v is of no use", r.Mapped)
		}
		// The same content, encoded by us, reads the same, but for addresses that
		// a server of ours would not tell.
		m := pion.MustBuild(pion.NewTransactionIDSetter(r.TxID), pion.BindingRequest)
		again, err := ParseResponse(success(m, r.Mapped, r.Origin, r.Other, nil))
		if err != nil || again != r {
			t.Fatalf("got %+v, %v after encoding again, want %+v", again, err, r)
		}
	})
}

func FuzzRespond(f *testing.F) {
	f.Add(Request(id, Change{}), true)
	f.Add(Request(id, Change{IP: true, Port: true}), true)
	f.Add(RequestTo(id, 7), true)
	f.Add(unhex("0001 0008 aaaaaaaa 0102030405060708090a0b0c 0003 0004 00000002"), false)
	f.Add(unhex("0001 0004 2112a442 0102030405060708090a0b0c 7000 0000"), false)
	f.Fuzz(func(t *testing.T, b []byte, two bool) {
		other := second
		if !two {
			other = ap("198.51.100.1:3479")
		}
		reply, ok := Respond(b, client, primus, other)
		if !ok {
			return
		}
		if len(reply.Data) > MaxReply || len(reply.Data) < headerSize {
			t.Fatalf("reply of %d bytes", len(reply.Data))
		}
		if !bytes.Equal(reply.Data[4:headerSize], b[4:headerSize]) {
			t.Fatalf("reply %x is to another request than %x", reply.Data, b)
		}
		if _, ok := Respond(reply.Data, client, primus, other); ok {
			t.Fatal("reply is answered")
		}
		if reply.FromOtherIP && !two {
			t.Fatal("reply from an IP that isn't there")
		}
	})
}
