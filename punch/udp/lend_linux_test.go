package udp

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// borrow takes count datagrams in loans of up to batch, and writes over each.
func borrow(t *testing.T, c *Conn, count, batch int) []datagram {
	t.Helper()
	packets, from := make([][]byte, batch), make([]netip.AddrPort, batch)
	timeout := time.AfterFunc(10*time.Second, func() { c.Close() })
	defer timeout.Stop()
	var all []datagram
	for len(all) < count {
		n, err := c.Lend(packets, from)
		if err != nil {
			t.Fatalf("after %d of %d datagrams: %v", len(all), count, err)
		}
		for i, p := range packets[:n] {
			all = append(all, datagram{bytes.Clone(p), from[i]})
			clear(p)
			_ = append(p, "more than there is room for"...)
		}
	}
	return all
}

func TestLend(t *testing.T) {
	want := packets(slices.Concat(repeat(1200, 70), []int{31}, repeat(1400, 50), []int{1, 0, 9000})...)
	for _, config := range []Config{{Addr: loopback4}, {Addr: loopback6}, {Addr: loopback4, NoOffload: true}} {
		for _, batch := range []int{1, 7, 256} {
			t.Run(fmt.Sprint(config.Addr.Addr(), config.NoOffload, batch), func(t *testing.T) {
				a, b := listen(t, config), listen(t, config)
				if err := a.Write(want, b.LocalAddr()); err != nil {
					t.Fatal(err)
				}
				check(t, borrow(t, b, len(want), batch), a.LocalAddr(), nil, want)
			})
		}
	}
}

// Either way of reading goes on where the other stopped.
func TestLendAndRead(t *testing.T) {
	for _, config := range []Config{{Addr: loopback4}, {Addr: loopback4, NoOffload: true}} {
		a, b := listen(t, config), listen(t, config)
		want := packets(repeat(1000, 30)...)
		if err := a.Write(want, b.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		got := receive(t, b, 1, 1)
		got = append(got, borrow(t, b, 1, 1)...)
		if len(got) != 2 || !bytes.Equal(got[0].data, want[0]) || !bytes.Equal(got[1].data, want[1]) {
			t.Errorf("offload off %v: got %.4x and %.4x", config.NoOffload, got[0].data, got[1].data)
		}
	}
}

func TestLendEndsWithClose(t *testing.T) {
	c := listen(t, Config{Addr: loopback4})
	ended := make(chan error)
	go func() {
		_, err := c.Lend(make([][]byte, 1), make([]netip.AddrPort, 1))
		ended <- err
	}()
	c.Close()
	if err := <-ended; err != net.ErrClosed {
		t.Errorf("got %v, want %v", err, net.ErrClosed)
	}
}

// Datagrams that lie one after the other in memory leave as they would otherwise,
// by fewer iovecs.
func TestAdjacent(t *testing.T) {
	sizes := slices.Concat(repeat(1200, 70), []int{31, 700, 700, 0, 5})
	arena := bytes.Join(packets(sizes...), nil)
	var bufs [][]byte
	for at, i := 0, 0; i < len(sizes); i++ {
		bufs = append(bufs, arena[at:at+sizes[i]])
		at += sizes[i]
	}
	a, b := listen(t, Config{Addr: loopback4}), listen(t, Config{Addr: loopback4})
	for _, head := range [][]byte{nil, []byte("8 bytes!")} {
		if err := a.WriteHeaded(head, bufs, b.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		check(t, receive(t, b, len(bufs), 128), a.LocalAddr(), head, bufs)
	}
	var w writer
	if w.plan(nil, bufs[:50], true); w.planned != 1 || w.used != 1 {
		t.Errorf("50 datagrams: %d messages of %d iovecs, want 1 of 1", w.planned, w.used)
	}
	if w.plan([]byte("8 bytes!"), bufs[:50], true); w.used != 100 {
		t.Errorf("50 datagrams with a header each: %d iovecs, want 100", w.used)
	}
}
