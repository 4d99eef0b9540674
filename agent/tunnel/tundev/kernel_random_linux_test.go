package tundev

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"meshd/agent/netcfg/nstest"
	"meshd/agent/tunnel/vnet"
	"meshd/agent/tunnel/vnet/vnettest"
)

// These hold what nobody thought of against the kernel, by the same devices: packets
// and superpackets at random, the same each time.

// mark is the last of each batch: nothing overtakes it, so that all is there then
// which is not lost.
var mark = vnettest.Packet{
	From: netip.AddrPortFrom(from4.Addr(), 9), To: netip.AddrPortFrom(to4.Addr(), 9), UDP: true, IPOptions: []byte{1, 1, 1, 1}, Payload: []byte("mark"),
}.Bytes()

// receivedBatch returns what comes out before the mark.
func receivedBatch(t *testing.T, out *Device) [][]byte {
	t.Helper()
	var all [][]byte
	for {
		packets, _ := received(t, out, 1)
		for _, p := range packets {
			if bytes.HasSuffix(p, []byte("mark")) && len(p) == len(mark) {
				return all
			}
			all = append(all, p)
		}
	}
}

// TestRandomCuts has random superpackets cut by us and by the kernel.
func TestRandomCuts(t *testing.T) {
	const rounds = 300
	run := func(o vnet.Offloads) (results [][][]byte) {
		in, out := forwarding(t, o)
		defer in.Close()
		defer out.Close()
		w, r := newWriter(in), rand.New(rand.NewPCG(1, 2))
		for range rounds {
			p, size := randomSuper(r)
			for _, frame := range [][]byte{p.Super(size, p.Flags&0x80 != 0 && r.IntN(2) == 0), append(make([]byte, vnet.HeaderLen), mark...)} {
				if err := w.writeFrame([][]byte{frame}); err != nil {
					t.Fatalf("%+v in segments of %d: %v", p, size, err)
				}
			}
			results = append(results, receivedBatch(t, out))
		}
		return results
	}
	ours, kernels := run(everything), run(vnet.Offloads{})
	r := rand.New(rand.NewPCG(1, 2))
	for i := range ours {
		p, size := randomSuper(r)
		if p.Flags&0x80 != 0 {
			r.IntN(2) // as above
		}
		payload := p.Payload
		p.Payload = nil
		compare(t, "superpacket", ours[i], kernels[i])
		if n := (len(payload) + size - 1) / size; len(ours[i]) != n {
			t.Errorf("%d packets, want %d", len(ours[i]), n)
		}
		if t.Failed() {
			t.Fatalf("it was %+v with %d bytes, in segments of %d", p, len(payload), size)
		}
	}
}

// randomSuper is a superpacket of two segments and more, with segments of a size.
func randomSuper(r *rand.Rand) (vnettest.Packet, int) {
	p := vnettest.Packet{From: from4, To: to4, TOS: uint8(r.Uint32()), ID: uint16(r.Uint32()), DF: r.IntN(2) == 0, TTL: uint8(2 + r.IntN(250))}
	if r.IntN(2) == 0 {
		p.From, p.To, p.FlowLabel = from6, to6, r.Uint32()&0xfffff
	}
	size := 1 + r.IntN(1260)
	if p.UDP = r.IntN(3) == 0; !p.UDP {
		p.Seq, p.Ack, p.Window, p.Urgent = r.Uint32(), r.Uint32(), uint16(r.Uint32()), uint16(r.Uint32())
		p.Flags = 0x10 | uint8(r.Uint32())&^0x06 // any but SYN and RST
		p.Options = slices.Repeat([]byte{1}, 4*r.IntN(11))
	}
	p.Payload = make([]byte, min(size+1+r.IntN(63*size), 65000))
	for i := range p.Payload {
		p.Payload[i] = byte(r.Uint32())
	}
	return p, size
}

// TestRandomJoins has the kernel forward random packets, alone and as we join them.
func TestRandomJoins(t *testing.T) {
	in, out := forwarding(t, vnet.Offloads{})
	// What is too long for its way takes its superpacket with it, as in one of the
	// kernel's own making.
	nstest.IP(t, "link set vnetout mtu 9200")
	w, r := newWriter(in), rand.New(rand.NewPCG(3, 4))
	joined, total := 0, 0
	for range 300 {
		words := make([]byte, 60)
		for i := range words {
			words[i] = byte(r.Uint32())
			if r.IntN(4) > 0 {
				words[i] &= 0x07 // mostly, a flow goes on
			}
		}
		packets := vnettest.Tale(words, from4, to4, from6, to6)
		pass := func(o vnet.Offloads) [][]byte {
			c := vnet.NewCoalescer(func(frame [][]byte) error {
				if vnet.IsSuper(frame[0]) {
					joined++
				}
				return w.writeFrame(frame)
			}, o)
			for _, p := range append(packets[:len(packets):len(packets)], mark) {
				if err := c.Add(p); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Flush(); err != nil {
				t.Fatal(err)
			}
			return receivedBatch(t, out)
		}
		alone, together := byFlow(pass(vnet.Offloads{})), byFlow(pass(everything))
		for flow, want := range alone {
			total += len(want)
			if !vnettest.Equivalent(together[flow], want) {
				compare(t, fmt.Sprintf("flow %x", flow), together[flow], want)
				t.Fatalf("the tale was %x", words)
			}
		}
	}
	if joined < 300 || total < 5000 {
		t.Errorf("%d superpackets, %d packets: too few to tell anything", joined, total)
	}
}

// byFlow sorts packets by version, protocol, addresses and, where they are at hand,
// ports.
func byFlow(packets [][]byte) map[string][][]byte {
	flows := map[string][][]byte{}
	for _, p := range packets {
		var key []byte
		switch {
		case p[0]>>4 == 6 && p[6] == 60: // destination options
			key = slices.Concat(p[6:7], p[8:40])
		case p[0]>>4 == 6:
			key = slices.Concat(p[6:7], p[8:44])
		case p[6]&0x3f != 0 || p[7] != 0: // a fragment
			key = slices.Concat(p[9:10], p[12:20])
		default:
			start := int(p[0]&15) * 4
			key = slices.Concat(p[9:10], p[12:20], p[start:start+4])
		}
		flows[string(key)] = append(flows[string(key)], p)
	}
	return flows
}
