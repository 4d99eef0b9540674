package vnet

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"meshd/agent/tunnel/vnet/vnettest"
)

// recorder keeps what a coalescer writes.
type recorder struct {
	frames  [][]byte
	refuse  int // gsoType that is refused
	refused int
	err     error
}

func (r *recorder) write(frame [][]byte) error {
	b := bytes.Join(frame, nil)
	if b[1] != gsoNone && int(b[1]) == r.refuse {
		r.refused++
		return ErrRefused
	}
	r.frames = append(r.frames, b)
	return r.err
}

var everything = Offloads{TCP: true, UDP: true}

// join passes packets through a coalescer and returns the frames.
func join(t testing.TB, packets ...[]byte) [][]byte {
	t.Helper()
	var r recorder
	c := NewCoalescer(r.write, everything)
	for _, p := range packets {
		if err := c.Add(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	return r.frames
}

// pair is what the second of two packets of a flow does.
type pair struct {
	first, second func(*vnettest.Packet)
	joined        bool
}

func same(*vnettest.Packet) {}

// TestJoining has a row for each rule: two packets in sequence, changed by the
// row, and whether they become one frame.
func TestJoining(t *testing.T) {
	flags := func(v uint8) func(*vnettest.Packet) { return func(p *vnettest.Packet) { p.Flags = v } }
	short := func(p *vnettest.Packet) { p.Payload = p.Payload[:7] }
	noDF := func(p *vnettest.Packet) { p.DF = false }
	options := func(b ...byte) func(*vnettest.Packet) { return func(p *vnettest.Packet) { p.Options = b } }
	for name, row := range map[string]pair{
		"all: alike":                 {same, same, true},
		"all: the second is shorter": {same, short, true},
		"all: the second is longer":  {short, same, false},
		"all: another port":          {same, func(p *vnettest.Packet) { p.From = flip(p.From) }, false},
		"all: another address":       {same, func(p *vnettest.Packet) { p.To = neighbour(p.To) }, false},
		"all: another TTL":           {same, func(p *vnettest.Packet) { p.TTL = 63 }, false},
		"all: another TOS":           {same, func(p *vnettest.Packet) { p.TOS = 4 }, false},
		"all: ECN, congestion met":   {func(p *vnettest.Packet) { p.TOS = 2 }, func(p *vnettest.Packet) { p.TOS = 3 }, false},
		"all: no payload":            {same, func(p *vnettest.Packet) { p.Payload = nil }, false},

		"v4: DF, identification stays":       {same, func(p *vnettest.Packet) { p.ID-- }, true},
		"v4: may be fragmented, id counts":   {noDF, noDF, true},
		"v4: may be fragmented, id stays":    {noDF, func(p *vnettest.Packet) { p.DF = false; p.ID-- }, false},
		"v4: DF and not":                     {same, noDF, false},
		"v4: fragment":                       {same, func(p *vnettest.Packet) { p.DF = false; p.Fragment = 0x2000 }, false},
		"v4: fragments both":                 {func(p *vnettest.Packet) { p.DF = false; p.Fragment = 3 }, func(p *vnettest.Packet) { p.DF = false; p.Fragment = 3 }, false},
		"v4: reserved bit":                   {func(p *vnettest.Packet) { p.Fragment = 0x8000 }, func(p *vnettest.Packet) { p.Fragment = 0x8000 }, false},
		"v4: options":                        {func(p *vnettest.Packet) { p.IPOptions = []byte{1, 1, 1, 1} }, func(p *vnettest.Packet) { p.IPOptions = []byte{1, 1, 1, 1} }, false},
		"v4: header checksum wrong":          {same, func(p *vnettest.Packet) { p.WrongIPChecksum = true }, false},
		"v6: another flow label":             {same, func(p *vnettest.Packet) { p.FlowLabel++ }, false},
		"v6: extension headers":              {vnettest.Extend, vnettest.Extend, false},
		"udp: no checksum":                   {func(p *vnettest.Packet) { p.NoChecksum = true }, func(p *vnettest.Packet) { p.NoChecksum = true }, false},
		"udp: only the first has a checksum": {same, func(p *vnettest.Packet) { p.NoChecksum = true }, false},
		"tcp: PSH on the second":             {same, flags(0x18), true},
		"tcp: PSH on the first":              {flags(0x18), same, false},
		"tcp: FIN on the second":             {same, flags(0x19), true},
		"tcp: FIN on the first":              {flags(0x11), same, false},
		"tcp: SYN":                           {same, flags(0x12), false},
		"tcp: RST":                           {same, flags(0x14), false},
		"tcp: URG":                           {same, flags(0x30), false},
		"tcp: no ACK":                        {flags(0x08), flags(0x08), false},
		"tcp: ECE on both":                   {flags(0x50), flags(0x50), true},
		"tcp: ECE on one":                    {same, flags(0x50), false},
		"tcp: CWR on both":                   {flags(0x90), flags(0x90), false},
		"tcp: CWR on the first":              {flags(0x90), same, false},
		"tcp: another acknowledgment":        {same, func(p *vnettest.Packet) { p.Ack++ }, false},
		"tcp: another window":                {same, func(p *vnettest.Packet) { p.Window++ }, false},
		"tcp: urgent pointer":                {same, func(p *vnettest.Packet) { p.Urgent++ }, false},
		"tcp: sent again":                    {same, func(p *vnettest.Packet) { p.Seq -= 100 }, false},
		"tcp: a gap":                         {same, func(p *vnettest.Packet) { p.Seq += 100 }, false},
		"tcp: the same options":              {options(8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1), options(8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1), true},
		"tcp: another timestamp":             {options(8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1), options(8, 10, 0, 0, 0, 2, 0, 0, 0, 2, 1, 1), false},
		"tcp: options and none":              {options(1, 1, 1, 1), same, false},
		"tcp: none and options":              {same, options(1, 1, 1, 1), false},
	} {
		for _, family := range []struct {
			words string
			base  vnettest.Packet
		}{
			{"all: v4: tcp:", vnettest.Packet{From: from4, To: to4, DF: true, Window: 500}},
			{"all: v4: udp:", vnettest.Packet{From: from4, To: to4, DF: true, UDP: true}},
			{"all: v6: tcp:", vnettest.Packet{From: from6, To: to6, Window: 500}},
			{"all: v6: udp:", vnettest.Packet{From: from6, To: to6, UDP: true}},
		} {
			rule, _, _ := bytes.Cut([]byte(name), []byte(" "))
			if !bytes.Contains([]byte(family.words), rule) {
				continue
			}
			first, second := family.base, family.base
			first.Payload, second.Payload = payload(100), payload(100)
			row.first(&first)
			second.Seq, second.ID = uint32(len(first.Payload)), 1
			row.second(&second)
			in := [][]byte{first.Bytes(), second.Bytes()}
			frames := join(t, in...)
			if joined := len(frames) == 1; joined != row.joined {
				t.Errorf("%s (%s): joined %v, want %v", name, family.words, joined, row.joined)
				continue
			}
			if out := cutAll(t, frames); !vnettest.Equivalent(in, out) {
				t.Errorf("%s (%s): cut again\n%x, want\n%x", name, family.words, out, in)
			}
		}
	}
}

// Two flows that share a place in the index are two flows.
func TestCollisions(t *testing.T) {
	bucket := func(p vnettest.Packet) uint32 { return examine(p.Bytes()).hash % indexSize }
	timestamp := []byte{8, 10, 0, 0, 0, 1, 0, 0} // TCP over IPv4 is then as long as UDP over IPv6
	for name, pair := range map[string][2]vnettest.Packet{
		"ports, tcp":    {{From: from4, To: to4, DF: true}, {From: from4, To: to4, DF: true}},
		"ports, udp":    {{From: from6, To: to6, UDP: true}, {From: from6, To: to6, UDP: true}},
		"addresses":     {{From: from4, To: to4, DF: true}, {From: from4, To: neighbour(to4), DF: true}},
		"addresses, v6": {{From: from6, To: to6, UDP: true}, {From: from6, To: neighbour(to6), UDP: true}},
		"versions":      {{From: from4, To: to4, Options: timestamp}, {From: from6, To: to6, UDP: true}},
		"versions back": {{From: from6, To: to6, UDP: true}, {From: from4, To: to4, Options: timestamp}},
		"protocols":     {{From: from6, To: to6}, {From: from6, To: to6, UDP: true}},
	} {
		p, q := pair[0], pair[1]
		p.Payload, q.Payload, q.Seq = payload(50), payload(50), 50
		for port := uint16(40001); bucket(p) != bucket(q) || p.From == q.From && p.To == q.To && p.UDP == q.UDP; port++ {
			q.From = netip.AddrPortFrom(q.From.Addr(), port)
		}
		in := [][]byte{p.Bytes(), q.Bytes()}
		if frames := join(t, in...); len(frames) != 2 || !vnettest.Equivalent(in, cutAll(t, frames)) {
			t.Errorf("%s: frames %x", name, frames)
		}
	}
}

// A length field that does not tell the packet's length is the kernel's to judge.
func TestLengthsDisagree(t *testing.T) {
	for name, test := range map[string]struct {
		base vnettest.Packet
		at   int // length field
	}{
		"v4":  {vnettest.Packet{From: from4, To: to4, DF: true}, 2},
		"v6":  {vnettest.Packet{From: from6, To: to6}, 4},
		"udp": {vnettest.Packet{From: from6, To: to6, UDP: true}, 44},
	} {
		for _, by := range []uint16{1, 0xffff} {
			var in [][]byte
			for i := range 2 {
				p := test.base
				p.Seq, p.Payload = uint32(i*50), payload(50)
				b := p.Bytes()
				be.PutUint16(b[test.at:], be.Uint16(b[test.at:])+by)
				if b[0]>>4 == 4 {
					clear(b[10:12])
					putChecksum(b[10:], sum(b[:20], 0), false)
				}
				in = append(in, b)
			}
			if frames := join(t, in...); len(frames) != 2 || !vnettest.Equivalent(in, cutAll(t, frames)) {
				t.Errorf("%s: frames %x", name, frames)
			}
		}
	}
	// Reserved bits of TCP are of a future that may not like to be joined.
	var in [][]byte
	for i := range 2 {
		b := vnettest.Packet{From: from6, To: to6, Seq: uint32(i * 50), Payload: payload(50)}.Bytes()
		b[40+12] |= 1
		in = append(in, b)
	}
	if frames := join(t, in...); len(frames) != 2 {
		t.Errorf("reserved bits: frames %x", frames)
	}
}

// cutAll returns the packets in frames.
func cutAll(t testing.TB, frames [][]byte) (packets [][]byte) {
	t.Helper()
	for _, f := range frames {
		packets = append(packets, cut(t, f)...)
	}
	return packets
}

func TestOrder(t *testing.T) {
	a := vnettest.Packet{From: from4, To: to4, UDP: true, DF: true, Payload: payload(100)}
	b := vnettest.Packet{From: from6, To: to6, Payload: payload(100)}
	ack := vnettest.Packet{From: from6, To: to6, Seq: 100}
	next := vnettest.Packet{From: from6, To: to6, Seq: 100, Payload: payload(100)}
	ping := vnettest.Packet{From: from4, To: to4, UDP: true, DF: true, Payload: payload(100), IPOptions: []byte{1, 1, 1, 1}}
	for name, test := range map[string]struct {
		in   []vnettest.Packet
		want []int // packets in each frame
	}{
		"two flows in turns":                    {[]vnettest.Packet{a, b, a, next, a}, []int{3, 2}},
		"an ACK is not overtaken by its flow":   {[]vnettest.Packet{b, ack, next}, []int{1, 1, 1}},
		"an ACK does not stop another flow":     {[]vnettest.Packet{a, ack, a}, []int{2, 1}},
		"the unknown is not overtaken by any":   {[]vnettest.Packet{a, b, ping, a, next}, []int{1, 1, 1, 1, 1}},
		"and after the unknown joining goes on": {[]vnettest.Packet{ping, a, a, ping, a, a}, []int{1, 2, 1, 2}},
	} {
		var in [][]byte
		for _, p := range test.in {
			in = append(in, p.Bytes())
		}
		var got []int
		for _, f := range join(t, in...) {
			got = append(got, len(cut(t, f)))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: frames of %d, want %d", name, got, test.want)
		}
	}
}

func TestLimits(t *testing.T) {
	for name, test := range map[string]struct {
		size, packets int
		want          []int
	}{
		"64 segments":                 {10, 65, []int{64, 1}},
		"65535 bytes":                 {30000, 3, []int{2, 1}},
		"with a total of 65535 bytes": {(65535 - 40) / 5, 6, []int{5, 1}},
	} {
		var in [][]byte
		for i := range test.packets {
			in = append(in, vnettest.Packet{From: from4, To: to4, Seq: uint32(i * test.size), ID: uint16(i), Payload: payload(test.size)}.Bytes())
		}
		frames := join(t, in...)
		var got []int
		for _, f := range frames {
			got = append(got, len(cut(t, slices.Clone(f))))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: frames of %d, want %d", name, got, test.want)
		}
		if !vnettest.Equivalent(in, cutAll(t, frames)) {
			t.Errorf("%s: the packets changed", name)
		}
	}
}

// A kernel that takes no superpackets of a protocol gets the packets, and is not
// asked again.
func TestRefused(t *testing.T) {
	for _, test := range []struct {
		refuse int
		udp    bool
		left   Offloads
	}{{gsoUDP, true, Offloads{TCP: true}}, {gsoTCPv4, false, Offloads{UDP: true}}} {
		r := recorder{refuse: test.refuse}
		c := NewCoalescer(r.write, everything)
		var in [][]byte
		for i := range 4 {
			in = append(in, vnettest.Packet{From: from4, To: to4, UDP: test.udp, ID: uint16(i), Seq: uint32(i * 50), Payload: payload(50)}.Bytes())
		}
		for range 2 {
			r.frames = nil
			for _, p := range in {
				if err := c.Add(p); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Flush(); err != nil {
				t.Fatal(err)
			}
			if len(r.frames) != 4 || !vnettest.Equivalent(in, cutAll(t, r.frames)) {
				t.Errorf("frames %x", r.frames)
			}
		}
		if got := c.Offloads(); got != test.left || r.refused != 1 {
			t.Errorf("joins %+v, want %+v; refused %d times", got, test.left, r.refused)
		}
	}
}

// What may wait for Flush is bounded.
func TestFlushOfItsOwn(t *testing.T) {
	var r recorder
	c := NewCoalescer(r.write, Offloads{})
	for range maxWaiting + 1 {
		if err := c.Add(vnettest.Packet{From: from4, To: to4, Payload: payload(1)}.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.frames) != maxWaiting {
		t.Errorf("%d frames before Flush, want %d", len(r.frames), maxWaiting)
	}
}

func TestErrorOfWrite(t *testing.T) {
	r := recorder{err: errors.New("interface is down")}
	c := NewCoalescer(r.write, Offloads{})
	for range 3 {
		if err := c.Add(vnettest.Packet{From: from4, To: to4, Payload: payload(50)}.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(); err != r.err || len(r.frames) != 3 {
		t.Errorf("%v after %d frames, want the error after 3", err, len(r.frames))
	}
	if err := c.Flush(); err != nil || len(r.frames) != 3 {
		t.Errorf("an empty Flush: %v, %d frames", err, len(r.frames))
	}
}

func BenchmarkCoalescer(b *testing.B) {
	var in [][]byte
	for i := range 48 {
		in = append(in, vnettest.Packet{From: from4, To: to4, DF: true, Seq: uint32(i * 1348), Payload: payload(1348)}.Bytes())
	}
	c := NewCoalescer(func([][]byte) error { return nil }, everything)
	b.SetBytes(48 * 1348)
	b.ReportAllocs()
	for b.Loop() {
		for _, p := range in {
			c.Add(p)
		}
		c.Flush()
	}
}
