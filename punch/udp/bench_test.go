package udp_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"meshd/punch/udp"
)

// pipe carries datagrams over loopback: send hands a batch to the kernel,
// receive takes what is there.
type pipe struct {
	send    func(bufs [][]byte) error
	receive func(bufs [][]byte, sizes []int) (int, error)
}

func ours(b *testing.B) pipe {
	listen := func() *udp.Conn {
		c, err := udp.Listen(udp.Config{Addr: netip.MustParseAddrPort("127.0.0.1:0")})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.Close() })
		return c
	}
	in, out := listen(), listen()
	from := make([]netip.AddrPort, out.BatchSize())
	return pipe{
		send:    func(bufs [][]byte) error { return in.Write(bufs, out.LocalAddr()) },
		receive: func(bufs [][]byte, sizes []int) (int, error) { return out.Read(bufs, sizes, from) },
	}
}

func wireguardGo(b *testing.B) pipe {
	open := func() (conn.Bind, conn.ReceiveFunc, uint16) {
		bind := conn.NewStdNetBind()
		receivers, port, err := bind.Open(0)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { bind.Close() })
		return bind, receivers[0], port
	}
	in, _, _ := open()
	out, receive, port := open()
	to, err := out.ParseEndpoint(fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		b.Fatal(err)
	}
	eps := make([]conn.Endpoint, out.BatchSize())
	return pipe{
		send:    func(bufs [][]byte) error { return in.Send(bufs, to) },
		receive: func(bufs [][]byte, sizes []int) (int, error) { return receive(bufs, sizes, eps) },
	}
}

// batch returns datagrams in buffers as large as wireguard-go's: it bundles by
// appending to the first.
func batch(count, size int) [][]byte {
	bufs := make([][]byte, count)
	for i := range bufs {
		bufs[i] = make([]byte, size, 1<<16-1)
	}
	return bufs
}

// BenchmarkAgainstWireGuardGo moves the same batches through our sockets and
// wireguard-go's by turns, so that "ratio" (ours ÷ theirs in datagrams a second)
// holds however the machine's speed drifts.
func BenchmarkAgainstWireGuardGo(b *testing.B) {
	for _, row := range []struct{ count, size int }{{128, 1452}, {64, 1452}, {128, 100}, {8, 1452}, {1, 1452}, {1, 100}} {
		b.Run(fmt.Sprintf("%dx%dB", row.count, row.size), func(b *testing.B) {
			pipes := []pipe{ours(b), wireguardGo(b)}
			spent := make([]time.Duration, len(pipes))
			bufs, sizes := batch(128, 1<<16-1), make([]int, 128)
			out := batch(row.count, row.size)
			for b.Loop() {
				for i, p := range pipes {
					start := time.Now()
					p.transfer(b, out, bufs, sizes)
					spent[i] += time.Since(start)
				}
			}
			perSecond := func(d time.Duration) float64 { return float64(b.N*row.count) / d.Seconds() }
			b.ReportMetric(perSecond(spent[0])/1e3, "ours-kpkt/s")
			b.ReportMetric(perSecond(spent[1])/1e3, "theirs-kpkt/s")
			b.ReportMetric(spent[1].Seconds()/spent[0].Seconds(), "ratio")
		})
	}
}

// transfer sends a batch and receives all of it.
func (p pipe) transfer(b *testing.B, out, in [][]byte, sizes []int) {
	if err := p.send(out); err != nil {
		b.Fatal(err)
	}
	for got := 0; got < len(out); {
		n, err := p.receive(in, sizes)
		if err != nil {
			b.Fatal(err)
		}
		got += n
	}
}
