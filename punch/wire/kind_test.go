package wire

import (
	"encoding/binary"
	"testing"
)

// message returns size bytes that start with head.
func message(size int, head ...byte) []byte {
	b := make([]byte, size)
	copy(b, head)
	return b
}

// stunMessage returns a STUN header with a cookie, and size bytes of attributes.
func stunMessage(kind uint16, cookie uint32, size int) []byte {
	b := make([]byte, stunHeaderLen+size)
	binary.BigEndian.PutUint16(b, kind)
	binary.BigEndian.PutUint16(b[2:], uint16(size))
	binary.BigEndian.PutUint32(b[4:], cookie)
	return b
}

func TestKindOf(t *testing.T) {
	for _, row := range []struct {
		name string
		data []byte
		want Kind
	}{
		{"nothing", nil, Unknown},
		{"one byte", []byte{1}, Unknown},

		{"WireGuard initiation", message(148, 1), WireGuard},
		{"WireGuard initiation, cut", message(147, 1), Unknown},
		{"WireGuard response", message(92, 2), WireGuard},
		{"WireGuard response, longer", message(93, 2), Unknown},
		{"WireGuard cookie reply", message(64, 3), WireGuard},
		{"WireGuard cookie reply, cut", message(60, 3), Unknown},
		{"WireGuard keepalive", message(32, 4), WireGuard},
		{"WireGuard data", message(1452, 4), WireGuard},
		{"WireGuard data below a keepalive", message(31, 4), Unknown},
		{"WireGuard data whose receiver index is STUN's cookie", message(48, 4, 0, 0, 0, 0x21, 0x12, 0xa4, 0x42), WireGuard},
		{"WireGuard response whose sender index is STUN's cookie", message(92, 2, 0, 0, 0, 0x21, 0x12, 0xa4, 0x42), WireGuard},
		{"reserved bytes set", message(148, 1, 0, 0, 1), Unknown},
		{"type five", message(148, 5), Unknown},

		{"probe", message(ProbeSize, 0xd1, 'm', 's', 'h'), Probe},
		{"probe without a body", message(probeOverhead, 0xd1, 'm', 's', 'h'), Probe},
		{"probe, cut", message(probeOverhead-1, 0xd1, 'm', 's', 'h'), Unknown},
		{"almost a probe", message(ProbeSize, 0xd1, 'm', 's', 'H'), Unknown},

		{"relay reset", message(HeaderSize, 0xd2, byte(Reset)), Relay},
		{"relay data", message(1460, 0xd2, byte(Data)), Relay},
		{"relay, type of a later version", message(100, 0xd2, 99), Relay},
		{"relay, cut", message(HeaderSize-1, 0xd2, byte(Reset)), Unknown},

		{"STUN request", stunMessage(0x0001, stunCookie, 0), STUN},
		{"STUN request with an attribute", stunMessage(0x0001, stunCookie, 8), STUN},
		{"STUN response", stunMessage(0x0101, stunCookie, 12), STUN},
		{"STUN request of RFC 3489", stunMessage(0x0001, 0xdeadbeef, 8), STUN},
		{"STUN response without a cookie", stunMessage(0x0101, 0xdeadbeef, 12), Unknown},
		{"STUN, longer than it says", append(stunMessage(0x0001, stunCookie, 0), 0, 0, 0, 0), Unknown},
		{"STUN, shorter than it says", stunMessage(0x0001, stunCookie, 8)[:24], Unknown},
		{"STUN, odd length", stunMessage(0x0001, stunCookie, 3), Unknown},
		{"STUN, cut", stunMessage(0x0001, stunCookie, 0)[:19], Unknown},

		{"DTLS", message(64, 22, 0xfe, 0xfd), Unknown},
		{"TURN channel data", message(64, 0x40, 0x00), Unknown},
		{"RTP", message(64, 0x80, 0x60), Unknown},
		{"QUIC", message(1200, 0xc3, 0, 0, 0, 1), Unknown},
	} {
		if got := KindOf(row.data); got != row.want {
			t.Errorf("%s: got %v, want %v", row.name, got, row.want)
		}
		if got, want := IsWireGuard(row.data), row.want == WireGuard; got != want {
			t.Errorf("%s: got IsWireGuard %v, want %v", row.name, got, want)
		}
	}
}

func TestKindOfAllocates(t *testing.T) {
	b := message(1452, 4)
	if n := testing.AllocsPerRun(100, func() { KindOf(b) }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

func FuzzKindOf(f *testing.F) {
	f.Add(message(32, 4))
	f.Add(message(ProbeSize, 0xd1, 'm', 's', 'h'))
	f.Add(message(HeaderSize, 0xd2, byte(Reset)))
	f.Add(stunMessage(0x0001, stunCookie, 8))
	f.Fuzz(func(t *testing.T, b []byte) {
		kind := KindOf(b)
		if (kind == WireGuard) != IsWireGuard(b) {
			t.Fatalf("kind %v, but IsWireGuard is %v", kind, IsWireGuard(b))
		}
		if kind == Probe {
			TagOf(b) // must be there
		}
		if _, err := ParseHeader(b); kind == Relay && err != nil {
			t.Fatalf("a relay message without a header: %v", err)
		}
	})
}
