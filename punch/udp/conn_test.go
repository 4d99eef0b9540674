package udp

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

var (
	loopback4 = netip.MustParseAddrPort("127.0.0.1:0")
	loopback6 = netip.MustParseAddrPort("[::1]:0")
)

func listen(t testing.TB, config Config) *Conn {
	t.Helper()
	c, err := Listen(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// datagram is one that was received.
type datagram struct {
	data []byte
	from netip.AddrPort
}

// receive reads count datagrams, as many at a time as given.
func receive(t testing.TB, c *Conn, count, batch int) []datagram {
	t.Helper()
	bufs, sizes, from := make([][]byte, batch), make([]int, batch), make([]netip.AddrPort, batch)
	for i := range bufs {
		bufs[i] = make([]byte, 4096)
	}
	timeout := time.AfterFunc(10*time.Second, func() { c.Close() })
	defer timeout.Stop()
	var all []datagram
	for len(all) < count {
		n, err := c.Read(bufs, sizes, from)
		if err != nil {
			t.Fatalf("after %d of %d datagrams: %v", len(all), count, err)
		}
		for i := range n {
			all = append(all, datagram{bytes.Clone(bufs[i][:sizes[i]]), from[i]})
		}
	}
	return all
}

// packets makes datagrams of the given sizes; each starts with its number.
func packets(sizes ...int) [][]byte {
	var all [][]byte
	for i, size := range sizes {
		b := bytes.Repeat([]byte{byte(i)}, size)
		all = append(all, b)
	}
	return all
}

func repeat(size, count int) []int { return slices.Repeat([]int{size}, count) }

func check(t *testing.T, got []datagram, from netip.AddrPort, head []byte, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d datagrams, want %d", len(got), len(want))
	}
	for i, w := range want {
		w = append(bytes.Clone(head), w...)
		if !bytes.Equal(got[i].data, w) {
			t.Fatalf("datagram %d: got %d bytes %.8x…, want %d bytes %.8x…", i, len(got[i].data), got[i].data, len(w), w)
		}
		if got[i].from != from {
			t.Fatalf("datagram %d: got source %v, want %v", i, got[i].from, from)
		}
	}
}

func TestWriteRead(t *testing.T) {
	rows := []struct {
		name  string
		sizes []int
	}{
		{"one", []int{100}},
		{"bundle", repeat(1200, 64)},
		{"bundle with short tail", append(repeat(1200, 10), 40)},
		{"more than a bundle", repeat(500, 200)},
		{"bundle of 65 kB and more", repeat(1452, 60)},
		{"growing", []int{10, 20, 30, 40}},
		{"shrinking", []int{40, 30, 20, 10}},
		{"mixed", []int{1200, 1200, 60, 60, 1200, 32, 1200, 1200, 1200}},
		{"empty ones between", []int{100, 0, 100, 100, 0, 0}},
		{"single bytes", repeat(1, 70)},
	}
	for _, local := range []netip.AddrPort{loopback4, loopback6} {
		for _, noOffload := range []bool{false, true} {
			for _, batch := range []int{1, 7, 128} {
				for _, row := range rows {
					t.Run(fmt.Sprintf("%v/NoOffload=%v/batch=%d/%s", local.Addr(), noOffload, batch, row.name), func(t *testing.T) {
						a := listen(t, Config{Addr: local, NoOffload: noOffload})
						b := listen(t, Config{Addr: local, NoOffload: noOffload})
						want := packets(row.sizes...)
						if err := a.Write(want, b.LocalAddr()); err != nil {
							t.Fatal(err)
						}
						check(t, receive(t, b, len(want), batch), a.LocalAddr(), nil, want)

						head := []byte("8 bytes!")
						if err := a.WriteHeaded(head, want, b.LocalAddr()); err != nil {
							t.Fatal(err)
						}
						check(t, receive(t, b, len(want), batch), a.LocalAddr(), head, want)
					})
				}
			}
		}
	}
}

func TestReadNothing(t *testing.T) {
	if n, err := listen(t, Config{Addr: loopback4}).Read(nil, nil, nil); n != 0 || err != nil {
		t.Errorf("got %d, %v, want 0, nil", n, err)
	}
}

func TestClose(t *testing.T) {
	for _, local := range []netip.AddrPort{loopback4, loopback6} {
		c := listen(t, Config{Addr: local})
		failed := make(chan error)
		go func() {
			_, err := c.Read([][]byte{make([]byte, 10)}, make([]int, 1), make([]netip.AddrPort, 1))
			failed <- err
		}()
		for range 2 {
			if err := c.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
		if err := <-failed; err != net.ErrClosed {
			t.Errorf("blocked read: got %v, want %v", err, net.ErrClosed)
		}
		if _, err := c.Read([][]byte{make([]byte, 10)}, make([]int, 1), make([]netip.AddrPort, 1)); err != net.ErrClosed {
			t.Errorf("read after close: got %v, want %v", err, net.ErrClosed)
		}
		if err := c.Write(packets(1), c.LocalAddr()); err != net.ErrClosed {
			t.Errorf("write after close: got %v, want %v", err, net.ErrClosed)
		}
		if err := c.WriteTTL([]byte{1}, c.LocalAddr(), 3); err != net.ErrClosed {
			t.Errorf("write with TTL after close: got %v, want %v", err, net.ErrClosed)
		}
	}
}

func TestListenErrors(t *testing.T) {
	if _, err := Listen(Config{}); err == nil {
		t.Error("no address: got no error")
	}
	c := listen(t, Config{Addr: loopback4})
	_, err := Listen(Config{Addr: c.LocalAddr()})
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte(c.LocalAddr().String())) {
		t.Errorf("address in use: got %v, want an error with %v", err, c.LocalAddr())
	}
}

func TestWriteErrors(t *testing.T) {
	c4, c6 := listen(t, Config{Addr: loopback4}), listen(t, Config{Addr: loopback6})
	for _, row := range []struct {
		conn *Conn
		to   string
	}{
		{c4, "[::1]:9"},
		{c6, "127.0.0.1:9"},
		{c6, "[::ffff:127.0.0.1]:9"},
	} {
		if err := row.conn.Write(packets(1), netip.MustParseAddrPort(row.to)); err == nil {
			t.Errorf("write to %v from %v: got no error", row.to, row.conn.LocalAddr())
		}
	}
	if err := c4.Write(packets(1), netip.AddrPort{}); err == nil {
		t.Error("write to nowhere: got no error")
	}
	if err := c4.Write(nil, c4.LocalAddr()); err != nil {
		t.Errorf("write nothing: %v", err)
	}
	mapped := netip.AddrPortFrom(netip.AddrFrom16(c4.LocalAddr().Addr().As16()), c4.LocalAddr().Port())
	if err := c4.Write(packets(1), mapped); err != nil {
		t.Errorf("write to mapped address: %v", err)
	}
}

func TestConcurrentWrites(t *testing.T) {
	const writers, rounds, batch = 4, 20, 20
	a, b := listen(t, Config{Addr: loopback4}), listen(t, Config{Addr: loopback4})
	var wg sync.WaitGroup
	for id := range writers {
		wg.Go(func() {
			bufs := packets(repeat(300+id, batch)...)
			for _, p := range bufs {
				copy(p, bytes.Repeat([]byte{byte(id)}, len(p)))
			}
			for range rounds {
				if err := a.Write(bufs, b.LocalAddr()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	counts := make([]int, writers)
	for _, d := range receive(t, b, writers*rounds*batch, 64) {
		id := int(d.data[0])
		if len(d.data) != 300+id || !bytes.Equal(d.data, bytes.Repeat([]byte{byte(id)}, len(d.data))) {
			t.Fatalf("datagram of writer %d with %d bytes is torn", id, len(d.data))
		}
		counts[id]++
	}
	if want := repeat(rounds*batch, writers); !slices.Equal(counts, want) {
		t.Errorf("got %v datagrams, want %v", counts, want)
	}
}

func TestRefusedPort(t *testing.T) {
	t.Log("a datagram to a port where nobody listens spoils neither reading nor writing")
	a, b, gone := listen(t, Config{Addr: loopback4}), listen(t, Config{Addr: loopback4}), listen(t, Config{Addr: loopback4})
	gone.Close()
	for range 3 {
		if err := a.Write(packets(10), gone.LocalAddr()); err != nil {
			t.Errorf("write to closed port: %v", err)
		}
	}
	if err := b.Write(packets(20), a.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	check(t, receive(t, a, 1, 4), b.LocalAddr(), nil, packets(20))
	if errors.Is(a.Write(packets(1), b.LocalAddr()), net.ErrClosed) {
		t.Error("socket was closed")
	}
}

func TestBundle(t *testing.T) {
	for _, row := range []struct {
		name  string
		sizes []int
		head  int
		want  int
	}{
		{"nothing", nil, 0, 0},
		{"one", []int{5}, 0, 1},
		{"equal", []int{5, 5, 5}, 0, 3},
		{"shorter tail", []int{5, 5, 3, 3}, 0, 3},
		{"longer one", []int{5, 5, 6}, 0, 2},
		{"longer at once", []int{5, 6}, 0, 1},
		{"empty tail", []int{5, 5, 0}, 0, 2},
		{"empty with head", []int{5, 0, 5}, 8, 2},
		{"empty first", []int{0, 5}, 0, 1},
		{"all empty", []int{0, 0}, 0, 1},
		{"64 at most", repeat(5, 100), 0, 64},
		{"65507 bytes at most", repeat(9000, 10), 0, 7},
		{"heads count", repeat(1300, 64), 8, 50},
	} {
		if got := bundle(packets(row.sizes...), row.head); got != row.want {
			t.Errorf("%s: got %d, want %d", row.name, got, row.want)
		}
	}
}
