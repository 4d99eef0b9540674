package nattest_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"meshd/punch/nattest"
)

func TestListen(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		h := w.Host(wan, prefix("203.0.113.1/32"), prefix("2001:db8::1/128"))
		for _, tt := range []struct {
			at   string
			want error
		}{
			{"0.0.0.0:41641", nil},
			{"[::]:41641", nil}, // the families have ports of their own
			{"203.0.113.1:41641", nil},
			{"0.0.0.0:41641", syscall.EADDRINUSE},
			{"203.0.113.2:41641", syscall.EADDRNOTAVAIL},
			{"[2001:db8::2]:1", syscall.EADDRNOTAVAIL},
		} {
			if _, err := h.Listen(endpoint(tt.at)); !errors.Is(err, tt.want) {
				t.Errorf("%s: got %v, want %v", tt.at, err, tt.want)
			}
		}
		one, two := listen(t, h, endpoint("0.0.0.0:0")).LocalAddr(), listen(t, h, endpoint("0.0.0.0:0")).LocalAddr()
		if one.Port() < 32768 || two.Port() < 32768 || one == two {
			t.Errorf("got ports %v and %v, want two ephemeral ones", one, two)
		}
	})
}

// TestClosed: a blocked Read ends, everything fails, and the port is free again.
func TestClosed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		close func(w *world, s *nattest.Socket)
	}{
		{"the socket", func(_ *world, s *nattest.Socket) { s.Close(); s.Close() }},
		{"the net", func(w *world, _ *nattest.Socket) { w.Close(); w.Close() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nattest.Config{}, func(w *world) {
				h, _ := w.Place(wan)
				s := listen(t, h, endpoint("0.0.0.0:1"))
				ended := make(chan error, 1)
				go func() {
					_, _, err := read(s)
					ended <- err
				}()
				synctest.Wait()
				tt.close(w, s)
				if err := <-ended; !errors.Is(err, net.ErrClosed) {
					t.Errorf("blocked Read: got %v, want %v", err, net.ErrClosed)
				}
				if _, _, err := read(s); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Read: got %v, want %v", err, net.ErrClosed)
				}
				if err := s.Write([][]byte{{1}}, endpoint("203.0.113.9:1")); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Write: got %v, want %v", err, net.ErrClosed)
				}
			})
		})
	}
}

func TestPortIsFreeAfterClose(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		h, _ := w.Place(wan)
		first := listen(t, h, endpoint("0.0.0.0:1"))
		first.Close()
		second := listen(t, h, endpoint("0.0.0.0:1"))
		first.Close() // must not take the port from its new owner
		if !w.reaches(second, netip.AddrPortFrom(h.Addr(), 1)) {
			t.Error("the second socket doesn't get its own packet")
		}
	})
}

func TestSendErrors(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		h := w.Host(wan, prefix("203.0.113.1/32"))
		v4, v6 := listen(t, h, endpoint("0.0.0.0:1")), listen(t, h, endpoint("[::]:1"))
		for _, tt := range []struct {
			name   string
			socket *nattest.Socket
			to     string
			size   int
			want   error
		}{
			{"fine", v4, "203.0.113.9:1", 1, nil},
			{"mapped address", v4, "[::ffff:203.0.113.9]:1", 1, nil},
			{"no IPv6 here", v6, "[2001:db8::9]:1", 1, syscall.ENETUNREACH},
			{"wrong family", v4, "[2001:db8::9]:1", 1, syscall.EAFNOSUPPORT},
			{"too large", v4, "203.0.113.9:1", 65508, syscall.EMSGSIZE},
		} {
			if err := tt.socket.Write([][]byte{make([]byte, tt.size)}, endpoint(tt.to)); !errors.Is(err, tt.want) {
				t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
			}
		}
	})
}

// TestBatch: what was sent in one Write comes in one Read, in order; heads are put in
// front, and long datagrams are cut.
func TestBatch(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		s := w.server(1)[0]
		if got := s.BatchSize(); got < 4 {
			t.Errorf("batch size: got %d, want 4 at least", got)
		}
		if err := s.WriteHeaded([]byte("head "), [][]byte{[]byte("one"), []byte("two"), []byte("a long one")}, s.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(settle)
		bufs := [][]byte{make([]byte, 8), make([]byte, 8), make([]byte, 8), make([]byte, 8)}
		sizes, from := make([]int, 4), make([]netip.AddrPort, 4)
		n, err := s.Read(bufs, sizes, from)
		if n != 3 || err != nil {
			t.Fatalf("got %d, %v, want 3 datagrams", n, err)
		}
		for i, want := range []string{"head one", "head two", "head a l"} {
			if got := string(bufs[i][:sizes[i]]); got != want || from[i] != s.LocalAddr() {
				t.Errorf("got %q from %v, want %q from %v", got, from[i], want, s.LocalAddr())
			}
		}
	})
}

// TestWrittenIsCopied: the caller may use his buffers again at once.
func TestWrittenIsCopied(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		s := w.server(1)[0]
		b := []byte("first")
		_ = s.Write([][]byte{b}, s.LocalAddr())
		_ = s.WriteTTL(b, s.LocalAddr(), 3)
		copy(b, "other")
		for range 2 {
			if text, _, _ := read(s); text != "first" {
				t.Errorf("got %q, want %q", text, "first")
			}
		}
	})
}

func TestBufferFull(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		s := w.server(1)[0]
		for range 1030 {
			_ = s.Write([][]byte{{1}}, s.LocalAddr())
		}
		time.Sleep(settle)
		if got := w.Dropped()["buffer full"]; got != 6 {
			t.Errorf("got %d dropped, want 6 above 1024", got)
		}
	})
}

// TestSpecificFirst: a socket bound to an address is preferred to one bound to all.
func TestSpecificFirst(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		h, _ := w.Place(wan)
		all, one := listen(t, h, endpoint("0.0.0.0:1")), listen(t, h, netip.AddrPortFrom(h.Addr(), 1))
		send(t, all, one.LocalAddr(), "hello")
		if text, _, _ := read(one); text != "hello" {
			t.Errorf("got %q", text)
		}
	})
}

// TestHostFirewall denies by default, on the host itself.
func TestHostFirewall(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		h, _ := w.Place(wan)
		c, server := listen(t, h, endpoint("0.0.0.0:1")), w.server(1)[0]
		at := netip.AddrPortFrom(h.Addr(), 1)
		h.SetFirewall(&nattest.Filter{Filtering: byPort})
		if w.reaches(server, at) {
			t.Error("a stranger came in")
		}
		if !w.reaches(c, at) {
			t.Error("the host doesn't reach itself")
		}
		w.observe(c, server.LocalAddr())
		if !w.reaches(server, at) {
			t.Error("the answer was dropped")
		}
		h.SetFirewall(nil)
		if !w.reaches(w.server(1)[0], at) {
			t.Error("the firewall is still there")
		}
	})
}

// TestHostFirewallFull: a full table lets nothing new out.
func TestHostFirewallFull(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		h, _ := w.Place(wan)
		h.SetFirewall(&nattest.Filter{Filtering: byPort, Table: 1})
		s, x := listen(t, h, endpoint("0.0.0.0:1")), w.server(1, 2)
		got := []bool{w.reaches(s, x[0].LocalAddr()), w.reaches(s, x[1].LocalAddr()), w.reaches(s, x[0].LocalAddr())}
		if want := []bool{true, false, true}; !equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// TestLeftBehind: packets on their way from or to a host that has moved are lost.
func TestLeftBehind(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		h, _ := w.Place(wan)
		s, other := listen(t, h, endpoint("0.0.0.0:1")), w.server(1)[0]
		send(t, other, netip.AddrPortFrom(h.Addr(), 1), "on its way")
		time.Sleep(15 * time.Millisecond)
		send(t, s, other.LocalAddr(), "not yet on the wire")
		h.Move(w.Segment, wan, prefix("203.0.113.1/32"))
		time.Sleep(settle)
		if got := w.Dropped()["no route"]; got != 2 {
			t.Errorf("dropped %v, want 2 without a route", w.Dropped())
		}
		if got := h.String(); got != "host1" {
			t.Errorf("got %q", got)
		}
	})
}

// TestMove: a socket bound to all addresses lives on when its host moves to another
// home, and when it has no network for a while.
func TestMove(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		h, sites := w.Place(wan, nattest.Linux)
		_, others := w.Place(wan, nattest.Linux)
		s, to := listen(t, h, endpoint("0.0.0.0:41641")), w.server(1)[0].LocalAddr()
		old := w.observe(s, to)

		h.Move(others[0].Segment, nattest.LAN, prefix("192.168.1.99/24"))
		moved := w.observe(s, to)
		if moved == old {
			t.Errorf("still seen as %v", old)
		}
		h.Detach(others[0].Segment)
		if err := s.Write([][]byte{{1}}, to); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("without a network: got %v, want %v", err, syscall.ENETUNREACH)
		}
		h.Attach(sites[0].Segment, nattest.LAN, prefix("192.168.1.98/24"))
		if got := w.observe(s, to).Addr(); got != old.Addr() {
			t.Errorf("back home: seen as %v, want %v", got, old.Addr())
		}
	})
}

// TestMultihomed: the last interface has the default route, and the older one, still
// up, is used for its own neighbours and by sockets bound to its address.
func TestMultihomed(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		h, wifi := w.Place(wan, nattest.Linux)
		_, mobile := w.Place(wan, nattest.Carrier)
		neighbour := w.neighbour(wifi[0].Segment, "192.168.1.200/24")
		to := w.server(1)[0].LocalAddr()
		s, bound := listen(t, h, endpoint("0.0.0.0:1")), listen(t, h, netip.AddrPortFrom(h.Addr(), 2))
		first := w.observe(s, to)
		h.Attach(mobile[0].Segment, wan, prefix("10.7.7.7/24"))

		if got := w.observe(s, to).Addr(); got == first.Addr() {
			t.Errorf("seen as %v, want the new network's", got)
		}
		if got := w.observe(bound, to).Addr(); got != first.Addr() {
			t.Errorf("bound socket seen as %v, want %v", got, first.Addr())
		}
		if !w.reaches(s, netip.AddrPortFrom(addr("192.168.1.200"), 41641)) || !w.reaches(neighbour, endpoint("192.168.1.3:1")) {
			t.Error("neighbours have lost each other")
		}
		got, _ := h.Interfaces()
		if want := []netip.Prefix{prefix("192.168.1.3/24"), prefix("10.7.7.7/24")}; !slices.Equal(got, want) {
			t.Errorf("interfaces: got %v, want %v", got, want)
		}
	})
}

// TestSetAddrs: the new address is used, and the old one leads nowhere.
func TestSetAddrs(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		h := w.Host(wan, prefix("203.0.113.1/32"))
		s, other := listen(t, h, endpoint("0.0.0.0:1")), w.server(1)[0]
		h.SetAddrs(prefix("203.0.113.2/32"))
		if got, want := w.observe(s, other.LocalAddr()), endpoint("203.0.113.2:1"); got != want {
			t.Errorf("came from %v, want %v", got, want)
		}
		if w.reaches(other, endpoint("203.0.113.1:1")) || !w.reaches(other, endpoint("203.0.113.2:1")) {
			t.Error("the old address leads in, or the new one doesn't")
		}
	})
}
