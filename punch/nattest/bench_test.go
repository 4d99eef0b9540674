package nattest_test

import (
	"net/netip"
	"testing"

	"meshd/punch/nattest"
)

// BenchmarkPacket is what a packet costs on its way through a NAT and the core. Flights
// are large, so that the work is measured and not the delay.
func BenchmarkPacket(b *testing.B) {
	n := nattest.New(nattest.Config{})
	defer n.Close()
	from, _ := n.Place(nattest.Link{}, nattest.Linux)
	to, _ := n.Place(nattest.Link{})
	s, err := from.Listen(endpoint("0.0.0.0:1"))
	if err != nil {
		b.Fatal(err)
	}
	r, err := to.Listen(endpoint("0.0.0.0:1"))
	if err != nil {
		b.Fatal(err)
	}
	const flight = 1000
	bufs, sizes, sources := make([][]byte, flight), make([]int, flight), make([]netip.AddrPort, flight)
	for i := range bufs {
		bufs[i] = make([]byte, 100)
	}
	for b.Loop() {
		_ = s.Write(bufs, netip.AddrPortFrom(to.Addr(), 1))
		for got := 0; got < flight; {
			k, err := r.Read(bufs, sizes, sources)
			if err != nil {
				b.Fatal(err)
			}
			got += k
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*flight), "ns/packet")
}
