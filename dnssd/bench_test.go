package dnssd

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const benchMembers = 10_000

// benchMember is member i of a large zone: nine records.
func benchMember(i int) Member {
	four := netip.AddrFrom4([4]byte{100, 96, byte(i >> 8), byte(i)})
	m := Member{
		Name: fmt.Sprintf("member-%d", i), Online: true,
		Addresses:  []netip.Addr{four, netip.AddrFrom16([16]byte{0: 0xfd, 3: 1, 5: 2, 14: byte(i >> 8), 15: byte(i)})},
		AllowedIPs: []netip.Prefix{netip.PrefixFrom(four, 32)},
		Publication: Publication{
			Endpoint:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 41641),
			Candidates: nas.Candidates,
			Text:       []string{"nat=endpoint-independent"},
		},
	}
	m.Key[0], m.Key[1], m.Key[31] = byte(i), byte(i>>8), 1
	return m
}

func benchZone(tb testing.TB) *Zone {
	z := newZone(tb)
	for i := range benchMembers {
		if err := z.Set(benchMember(i)); err != nil {
			tb.Fatal(err)
		}
	}
	return z
}

// query is what wgsd's client sends about member i.
func query(tb testing.TB, z *Zone, i int) []byte {
	data, err := question(z.peerName(benchMember(i).Key), dns.TypeSRV).Pack()
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// TestMemory holds the promise of less than 1 KB a record.
func TestMemory(t *testing.T) {
	heap := func() uint64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	z := benchZone(t)
	z.lookup(wireguardType + "." + z.name)
	used := heap() - before
	records := 0
	z.names.Range(func(_, n any) bool {
		records += len(n.(*node).load().records)
		return true
	})
	if each := used / uint64(records); records < 9*benchMembers || each > 1024 {
		t.Errorf("%d records take %d bytes each, want at most 1024", records, each)
	} else {
		t.Logf("%d records take %d bytes each", records, each)
	}
	runtime.KeepAlive(z)
}

// BenchmarkAnswer is everything but the socket: message in, message out.
func BenchmarkAnswer(b *testing.B) {
	z := benchZone(b)
	s := NewServer(ServerConfig{Zone: z})
	queries := make([][]byte, 1024)
	for i := range queries {
		queries[i] = query(b, z, i*7%benchMembers)
	}
	buf := make([]byte, maxUDP)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m := new(dns.Msg)
		if err := m.Unpack(queries[i%len(queries)]); err != nil {
			b.Fatal(err)
		}
		if s.answer(b.Context(), &exchange{msg: m, udp: true}, buf) == nil {
			b.Fatal("no answer")
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
}

// BenchmarkServer is a server on loopback and a client that keeps some questions
// under way, both on the cores there are.
func BenchmarkServer(b *testing.B) {
	z := benchZone(b)
	server := startServer(b, ServerConfig{Zone: z})
	queries := make([][]byte, benchMembers)
	for i := range queries {
		queries[i] = query(b, z, i)
	}
	for _, window := range []int{1, 16} {
		b.Run(fmt.Sprintf("window=%d", window), func(b *testing.B) {
			client, err := net.Dial("udp", server.String())
			if err != nil {
				b.Fatal(err)
			}
			defer client.Close()
			askAll(b, client, queries, window)
		})
	}
}

// askAll asks b.N times and reports the rate and the slowest hundredth.
func askAll(b *testing.B, client net.Conn, queries [][]byte, window int) {
	var took []time.Duration
	sent := make([]time.Time, 1<<16)
	ask := func(i int) {
		q := queries[i%len(queries)]
		q[0], q[1] = byte(i>>8), byte(i)
		sent[i&0xffff] = time.Now()
		if _, err := client.Write(q); err != nil {
			b.Fatal(err)
		}
	}
	for i := range min(window, b.N) {
		ask(i)
	}
	buf := make([]byte, maxUDP)
	client.SetReadDeadline(time.Now().Add(time.Minute))
	for i := range b.N {
		if _, err := client.Read(buf); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(sent[int(buf[0])<<8|int(buf[1])]))
		if i+window < b.N {
			ask(i + window)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkSet is a change of one member among ten thousand.
func BenchmarkSet(b *testing.B) {
	z := benchZone(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m := benchMember(i % benchMembers)
		m.Endpoint = netip.AddrPortFrom(m.Endpoint.Addr(), uint16(i+1)|1)
		if err := z.Set(m); err != nil {
			b.Fatal(err)
		}
	}
}
