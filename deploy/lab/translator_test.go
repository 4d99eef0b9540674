package lab

import (
	"net/netip"
	"testing"
	"time"

	"meshd/punch/nattest"
)

var start = time.Unix(0, 0)

// home is a translator that keeps ports, so that they can be read by eye.
func home(hairpin bool) *translator {
	n := nattest.Linux
	n.Hairpin = hairpin
	return newTranslator(n, 1, netip.MustParseAddr(publicAddr))
}

func mustParse(t *testing.T, b []byte) ipv4 {
	t.Helper()
	p, ok := parseIPv4(b)
	if !ok {
		t.Fatalf("not a packet: % x", b)
	}
	return p
}

func checkPacket(t *testing.T, p ipv4, src, dst string) {
	t.Helper()
	if p.src().String() != src || p.dst().String() != dst {
		t.Errorf("got %v to %v, want %s to %s", p.src(), p.dst(), src, dst)
	}
	if !sound(p) {
		t.Errorf("checksums are wrong: % x", []byte(p))
	}
}

func TestTranslateThereAndBack(t *testing.T) {
	for _, c := range []struct {
		name        string
		ask, answer []byte
		src, dst    string // outside
		back        string // inside
	}{
		{"udp", build(UDP, insideAddr, remoteAddr, udp(41641, 3478, "?"), false), build(UDP, remoteAddr, publicAddr, udp(3478, 41641, "!"), false),
			"198.51.100.1:41641", "203.0.113.1:3478", "192.168.1.2:41641"},
		{"tcp", build(TCP, insideAddr, remoteAddr, tcp(50000, 443), false), build(TCP, remoteAddr, publicAddr, tcp(443, 50000), false),
			"198.51.100.1:50000", "203.0.113.1:443", "192.168.1.2:50000"},
		{"ping", build(ICMP, insideAddr, remoteAddr, echo(icmpEcho, 2000), false), build(ICMP, remoteAddr, publicAddr, echo(icmpEchoReply, 2000), false),
			"198.51.100.1:2000", "203.0.113.1:0", "192.168.1.2:2000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := home(false)
			ask, answer := mustParse(t, c.ask), mustParse(t, c.answer)
			if n.in(start, answer) != dropped {
				t.Error("an answer that nobody asked for was let in")
			}
			if got := n.out(start, ask); got != passed {
				t.Fatalf("out: got %v", got)
			}
			checkPacket(t, ask, c.src, c.dst)
			if got := n.in(start, answer); got != passed {
				t.Fatalf("in: got %v", got)
			}
			if got := answer.dst().String(); got != c.back || !sound(answer) {
				t.Errorf("in: got %s, checksums right: %v, want %s", got, sound(answer), c.back)
			}
			n.reboot()
			if n.in(start, mustParse(t, c.answer)) != dropped {
				t.Error("an answer was let in after a reboot")
			}
		})
	}
}

func TestUnaskedPingIsDropped(t *testing.T) {
	if got := home(false).in(start, mustParse(t, build(ICMP, remoteAddr, publicAddr, echo(icmpEcho, 2000), false))); got != dropped {
		t.Errorf("got %v, want dropped", got)
	}
}

func TestErrorAboutAnOutgoingPacket(t *testing.T) {
	n := home(false)
	n.out(start, mustParse(t, build(UDP, insideAddr, remoteAddr, udp(2434, 3478, "hello"), false)))
	p := mustParse(t, build(ICMP, remoteAddr, publicAddr, unreachable(), false))
	if got := n.in(start, p); got != passed {
		t.Fatalf("got %v, want passed", got)
	}
	checkPacket(t, p, "203.0.113.1:0", "192.168.1.2:0")
	about, _ := p.quoted()
	if got, want := about.src().String(), "192.168.1.2:2434"; got != want {
		t.Errorf("the error is about %s, want %s", got, want)
	}
}

func TestErrorAboutAnIncomingPacket(t *testing.T) {
	n := home(false)
	n.out(start, mustParse(t, build(UDP, insideAddr, remoteAddr, udp(2434, 3478, "hello"), false)))
	in := build(UDP, remoteAddr, insideAddr, udp(3478, 2434, "hello"), false)
	p := mustParse(t, build(ICMP, insideAddr, remoteAddr, append([]byte{icmpUnreachable, 3, 0, 0, 0, 0, 0, 0}, in[:28]...), false))
	if got := n.out(start, p); got != passed {
		t.Fatalf("got %v, want passed", got)
	}
	checkPacket(t, p, "198.51.100.1:0", "203.0.113.1:0")
	about, _ := p.quoted()
	if got, want := about.dst().String(), "198.51.100.1:2434"; got != want {
		t.Errorf("the error is about a packet to %s, want %s", got, want)
	}
}

func TestHairpin(t *testing.T) {
	for _, c := range []struct {
		name    string
		hairpin bool
		want    verdict
	}{
		{"with", true, turned},
		{"without", false, dropped},
	} {
		n := home(c.hairpin)
		n.out(start, mustParse(t, build(UDP, "192.168.1.3", publicAddr, udp(7000, 8000, ""), false))) // opens the way back
		p := mustParse(t, build(UDP, insideAddr, publicAddr, udp(8000, 7000, ""), false))
		if got := leave([]*translator{n}, start, p); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		} else if got == turned {
			checkPacket(t, p, "198.51.100.1:8000", "192.168.1.3:7000")
		}
	}
}

// Two NATs in series: each is a hop, and only the outer one has the public address.
func TestCarrierGrade(t *testing.T) {
	nats := newTranslators([]nattest.NAT{nattest.Linux, nattest.Linux}, netip.MustParseAddr(publicAddr))
	p := mustParse(t, build(UDP, insideAddr, remoteAddr, udp(41641, 3478, "?"), false))
	if got := leave(nats, start, p); got != passed || p[8] != 62 {
		t.Fatalf("out: got %v with %d hops to live, want passed with 62", got, p[8])
	}
	checkPacket(t, p, "198.51.100.1:41641", "203.0.113.1:3478")
	p = mustParse(t, build(UDP, remoteAddr, publicAddr, udp(3478, 41641, "!"), false))
	if got := arrive(nats, start, p); got != passed || p[8] != 62 {
		t.Fatalf("in: got %v with %d hops to live, want passed with 62", got, p[8])
	}
	checkPacket(t, p, "203.0.113.1:3478", "192.168.1.2:41641")
}
