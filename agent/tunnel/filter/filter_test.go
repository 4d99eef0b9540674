package filter

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

var (
	here4, there4 = netip.MustParseAddr("100.96.0.1"), netip.MustParseAddr("100.96.0.2")
	here6, there6 = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")
)

// ip makes a packet with what comes above IP, after extension headers if there are.
func ip(from, to netip.Addr, proto byte, above []byte) []byte {
	if from.Is4() {
		b := make([]byte, header4, header4+len(above))
		b[0], b[9] = 0x45, proto
		copy(b[12:], from.AsSlice())
		copy(b[16:], to.AsSlice())
		return append(b, above...)
	}
	b := make([]byte, header6, header6+len(above))
	b[0], b[6] = 0x60, proto
	copy(b[8:], from.AsSlice())
	copy(b[24:], to.AsSlice())
	return append(b, above...)
}

func tcp(from, to uint16, flags byte) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	b[tcpFlags] = flags
	return b
}

func udp(from, to uint16) []byte { return tcp(from, to, 0)[:8] }

func icmp(kind byte) []byte { return []byte{kind, 0, 0, 0, 0, 0, 0, 0} }

func options4(b []byte) []byte {
	with := append(append(append([]byte(nil), b[:header4]...), 1, 1, 1, 0), b[header4:]...)
	with[0] = 0x46
	return with
}

func fragment4(b []byte, offset uint16) []byte {
	binary.BigEndian.PutUint16(b[6:], offset/8)
	return b
}

const (
	fin, syn, rst, ack = 0x01, 0x02, 0x04, 0x10

	sctp = 132
)

func TestAdmits(t *testing.T) {
	in4 := func(proto byte, above []byte) []byte { return ip(there4, here4, proto, above) }
	in6 := func(proto byte, above []byte) []byte { return ip(there6, here6, proto, above) }
	for _, test := range []struct {
		name   string
		packet []byte
		rules  string
		want   bool
	}{
		{"TCP begins at an open port", in4(6, tcp(4000, 22, syn)), "tcp/22", true},
		{"TCP begins at an open port", in6(6, tcp(4000, 22, syn)), "tcp/22", true},
		{"TCP begins at another", in4(6, tcp(4000, 23, syn)), "tcp/22", false},
		{"TCP begins at another", in6(6, tcp(4000, 23, syn)), "tcp/22", false},
		{"TCP begins where UDP may", in4(6, tcp(4000, 22, syn)), "udp/22", false},
		{"the port is the sender's", in4(6, tcp(22, 4000, syn)), "tcp/22", false},
		{"TCP answers", in4(6, tcp(80, 4000, syn|ack)), "none", true},
		{"TCP goes on", in4(6, tcp(80, 4000, ack)), "none", true},
		{"TCP ends", in4(6, tcp(80, 4000, fin|ack)), "none", true},
		{"TCP is refused", in4(6, tcp(80, 4000, rst)), "none", true},
		{"TCP begins with data to come", in4(6, tcp(4000, 22, syn|fin)), "none", false},
		{"first of a range", in4(17, udp(4000, 60000)), "udp/60000-61000", true},
		{"last of a range", in4(17, udp(4000, 61000)), "udp/60000-61000", true},
		{"below a range", in4(17, udp(4000, 59999)), "udp/60000-61000", false},
		{"above a range", in6(17, udp(4000, 61001)), "udp/60000-61000", false},
		{"the second rule", in6(17, udp(4000, 53)), "tcp/22,udp/53", true},
		{"echo", in4(1, icmp(8)), "icmp", true},
		{"echo", in6(58, icmp(128)), "icmp", true},
		{"echo without a rule", in4(1, icmp(8)), "tcp/22", false},
		{"echo without a rule", in6(58, icmp(128)), "tcp/22", false},
		{"answer to an echo", in4(1, icmp(0)), "none", true},
		{"answer to an echo", in6(58, icmp(129)), "none", true},
		{"unreachable", in4(1, icmp(3)), "none", true},
		{"too big", in6(58, icmp(2)), "none", true},
		{"another protocol", in4(sctp, udp(4000, 22)), "tcp/22,udp/22,icmp", false},
		{"another protocol, all", in4(sctp, udp(4000, 22)), "all", true},
		{"no IP, all", []byte("hello"), "all", true},
		{"no IP", []byte("hello"), "tcp/1-65535,udp/1-65535,icmp", false},
		{"empty", nil, "tcp/22", false},
		{"IP alone", in4(6, nil), "tcp/22", false},
		{"TCP cut off before its flags", in4(6, tcp(4000, 22, syn)[:13]), "tcp/22", false},
		{"UDP cut off", in6(17, udp(4000, 53)[:7]), "udp/53", false},
		{"ICMP cut off", in4(1, nil), "icmp", false},
		{"options", options4(in4(6, tcp(4000, 22, syn))), "tcp/22", true},
		{"options", options4(in4(6, tcp(4000, 23, syn))), "tcp/22", false},
		{"header longer than the packet", []byte{0x4f, 19: 0}, "tcp/22", false},
		{"later fragment", fragment4(in4(6, tcp(0, 0, 0)), 1480), "none", true},
		{"fragment over the flags", fragment4(in4(6, tcp(0, 0, 0)), 8), "tcp/1-65535", false},
		{"fragment behind them", fragment4(in4(6, tcp(0, 0, 0)), 16), "none", true},
		{"first fragment of six", in6(fragment, append([]byte{6, 0, 0, 1, 0, 0, 0, 9}, tcp(4000, 22, syn)...)), "tcp/22", true},
		{"first fragment of six", in6(fragment, append([]byte{6, 0, 0, 1, 0, 0, 0, 9}, tcp(4000, 23, syn)...)), "tcp/22", false},
		{"later fragment of six", in6(fragment, append([]byte{6, 0, 5, 0xa9, 0, 0, 0, 9}, 1, 2, 3)), "none", true},
		{"fragment over the flags", in6(fragment, append([]byte{6, 0, 0, 9, 0, 0, 0, 9}, 1, 2, 3)), "tcp/22", false},
		{"extension headers", in6(hopByHop, append([]byte{destination, 0, 0, 0, 0, 0, 0, 0, 17, 1, 15: 0, 23: 0}, udp(4000, 53)...)), "udp/53", true},
		{"extension headers", in6(hopByHop, append([]byte{destination, 0, 0, 0, 0, 0, 0, 0, 17, 1, 15: 0, 23: 0}, udp(4000, 54)...)), "udp/53", false},
		{"extension header cut off", in6(hopByHop, []byte{17, 1, 0, 0}), "udp/53", false},
		{"extension headers without end", in6(hopByHop, make([]byte, 8*(maxExtensions+1))), "udp/53", false},
	} {
		f := New(nil)
		rules, err := Parse(test.rules)
		if err != nil {
			t.Fatal(err)
		}
		f.Set(rules)
		if got := f.Admits(test.packet); got != test.want {
			t.Errorf("%s (%x) with %s: %v, want %v", test.name, test.packet, test.rules, got, test.want)
		}
	}
}

// What goes out opens the way for its answers, and for nothing else.
func TestAnswers(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	f := New(func() time.Time { return now })
	f.Set(Rules{})
	dns, answer := ip(here4, there4, 17, udp(4000, 53)), ip(there4, here4, 17, udp(53, 4000))
	six, answer6 := ip(here6, there6, 17, udp(4000, 53)), ip(there6, here6, 17, udp(53, 4000))
	if f.Admits(answer) {
		t.Error("an answer came in before the question")
	}
	f.Sent(dns)
	f.Sent(six)
	f.Sent(ip(here4, there4, sctp, nil))
	for _, test := range []struct {
		name   string
		packet []byte
		want   bool
	}{
		{"answer", answer, true},
		{"answer of six", answer6, true},
		{"answer without ports", ip(there4, here4, sctp, nil), true},
		{"from another port", ip(there4, here4, 17, udp(54, 4000)), false},
		{"to another port", ip(there4, here4, 17, udp(53, 4001)), false},
		{"from another address", ip(netip.MustParseAddr("100.96.0.3"), here4, 17, udp(53, 4000)), false},
		{"by TCP", ip(there4, here4, 6, tcp(53, 4000, syn)), false},
		{"turned", dns, false},
	} {
		if got := f.Admits(test.packet); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	now = now.Add(Memory)
	if !f.Admits(answer) {
		t.Error("forgotten too soon")
	}
	f.Sent(dns)
	now = now.Add(Memory)
	if !f.Admits(answer) || f.Admits(answer6) {
		t.Error("it is the last packet that counts")
	}
	f.Set(Rules{{TCP, 22, 22}})
	if !f.Admits(answer) {
		t.Error("forgotten with the rules")
	}
	f.Set(nil)
	if !f.Admits(answer6) {
		t.Error("kept out without rules")
	}
	f.Set(Rules{})
	if f.Admits(answer) {
		t.Error("what went out unfiltered was remembered")
	}
}

// More flows than there is room for: the latest of them are known.
func TestManyFlows(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	f := New(func() time.Time { return now })
	f.Set(Rules{})
	const flows, late = 50_000, 1000
	for n := range flows {
		if n%late == 0 {
			now = now.Add(time.Second)
		}
		f.Sent(ip(here4, there4, 17, udp(uint16(n), uint16(n>>4))))
	}
	known := 0
	for n := flows - late; n < flows; n++ {
		if f.Admits(ip(there4, here4, 17, udp(uint16(n>>4), uint16(n)))) {
			known++
		}
	}
	if known < late*98/100 { // of a set, four may be of the last second and a fifth come
		t.Errorf("%d of the last %d flows are known", known, late)
	}
}

func TestParse(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"all", "all"},
		{"none", "none"},
		{"icmp", "icmp"},
		{"tcp/22", "tcp/22"},
		{"udp/60000-61000, tcp/22,icmp,tcp/22", "icmp,tcp/22,udp/60000-61000"},
		{"tcp/1-65535", "tcp/1-65535"},
		{"tcp/80-80", "tcp/80"},
	} {
		rules, err := Parse(test.in)
		if err != nil || rules.String() != test.want {
			t.Errorf("%q: %v %v, want %s", test.in, rules, err, test.want)
		}
		if again, err := Parse(rules.String()); err != nil || again.String() != test.want {
			t.Errorf("%s is read as %v %v", rules, again, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	const port, nothing = " names no port from 1 to 65535, nor a range of them", " is nothing that can be begun"
	for _, test := range []struct{ in, want string }{
		{"", `""` + nothing},
		{"tcp", `"tcp"` + port},
		{"tcp/", `"tcp/"` + port},
		{"tcp/0", `"tcp/0"` + port},
		{"tcp/65536", `"tcp/65536"` + port},
		{"tcp/22-", `"tcp/22-"` + port},
		{"udp/90-80", `"udp/90-80"` + port},
		{"tcp/ssh", `"tcp/ssh"` + port},
		{"icmp/8", `"icmp/8"` + nothing},
		{"tcp/22,,udp/53", `""` + nothing},
		{"tcp/22,all", `"all"` + nothing},
		{"sctp/22", `"sctp/22"` + nothing},
		{"22", `"22"` + nothing},
	} {
		if rules, err := Parse(test.in); err == nil || err.Error() != test.want {
			t.Errorf("%q: %v %v, want %s", test.in, rules, err, test.want)
		}
	}
}

// Whatever comes, nothing begins when nothing may: a packet that is let in is no
// SYN, no echo and no datagram, as far as the kernel would read it.
func FuzzAdmits(f *testing.F) {
	f.Add(ip(there4, here4, 6, tcp(4000, 22, syn)))
	f.Add(ip(there6, here6, hopByHop, append([]byte{destination, 0, 0, 0, 0, 0, 0, 0, 17, 1, 15: 0, 23: 0}, udp(4000, 53)...)))
	f.Add(fragment4(ip(there4, here4, 6, tcp(0, 0, 0)), 1480))
	f.Add(options4(ip(there4, here4, 1, icmp(8))))
	f.Fuzz(func(t *testing.T, b []byte) {
		filter := New(nil)
		filter.Set(Rules{})
		if filter.Admits(b) && len(b) > 40 && b[0] == 0x45 && b[6]&0x1f == 0 && b[7] == 0 {
			if b[9] == byte(UDP) || b[9] == byte(TCP) && b[20+tcpFlags]&(syn|ack) == syn || b[9] == byte(ICMP) && b[20] == echo4 {
				t.Errorf("%x came in", b)
			}
		}
		filter.Sent(b) // whatever it is
	})
}

func BenchmarkAdmits(b *testing.B) {
	segment := ip(there4, here4, 6, tcp(80, 4000, ack))
	answer := ip(there4, here4, 17, udp(53, 4000))
	for _, bench := range []struct {
		name, rules string
		packet      []byte
	}{{"all", "all", segment}, {"tcp", "tcp/22,icmp", segment}, {"udp", "tcp/22,icmp", answer}} {
		b.Run(bench.name, func(b *testing.B) {
			f := New(nil)
			rules, err := Parse(bench.rules)
			if err != nil {
				b.Fatal(err)
			}
			f.Set(rules)
			f.Sent(ip(here4, there4, 17, udp(4000, 53)))
			for b.Loop() {
				f.Admits(bench.packet)
			}
		})
	}
}
