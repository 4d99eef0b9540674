package inkernel

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"meshd/punch/relay/inkernel"
)

func TestForward(t *testing.T) {
	for _, family := range []string{"IPv4", "IPv6"} {
		for _, row := range []struct {
			name         string
			sender, exit bool // sums and cuts by itself
		}{
			{"bundles that stay whole, sums that nobody needs", false, false},
			{"bundles that are cut on the way out", false, true},
			{"single packets with sums", true, false},
			{"single packets, summed anew", true, true},
		} {
			t.Run(family+", "+row.name, func(t *testing.T) {
				t.Parallel()
				s := newStage(t)
				if row.sender {
					s.sender.sumHere(t, "out")
				}
				if row.exit {
					s.relay.sumHere(t, "out")
				}
				r := s.trio(family == "IPv6")
				r.keeps(bundle(head, 40, 1200))
				r.install()
				r.forwards(bundle(head, 40, 1200))
				r.forwards(bundle(head, 1, 1200))
				r.forwards(bundle(head, 2, 16))
				before := r.count()
				r.forwards(bundle(head, 10, 1000))
				after := r.count()
				if packets, size := after.Packets-before.Packets, after.Bytes-before.Bytes; packets < 10 || size < 9500 || size > 1000*packets {
					t.Errorf("counted %d packets and %d bytes, want 10 and 9500 at least", packets, size)
				}
				t.Log("what is removed goes to user space again")
				r.relay.do(t, func() error {
					if n := r.table.Remove(r.flow); n != after {
						return fmt.Errorf("removed with %+v, want %+v", n, after)
					}
					return nil
				})
				r.keeps(bundle(head, 40, 1200))
			})
		}
	}
}

// TestOnlyThisFlow has all but the flow's own datagrams go to user space.
func TestOnlyThisFlow(t *testing.T) {
	s := newStage(t)
	r := s.trio(false)
	r.install()
	r.forwards(bundle(head, 5, 1000))
	for _, row := range []struct {
		name string
		head [8]byte
	}{
		{"another type", [8]byte{0xd2, 2, 0, 7, 0, 0, 0, 3}},
		{"another epoch", [8]byte{0xd2, 1, 0, 8, 0, 0, 0, 3}},
		{"another pair", [8]byte{0xd2, 1, 0, 7, 0, 0, 0, 5}},
	} {
		t.Log(row.name)
		r.keeps(bundle(row.head, 5, 1000))
	}

	t.Log("a bundle with anything else in it, in the middle or as its odd end")
	for _, at := range []int{1, 3, 4} {
		mixed := bundle(head, 5, 1000)
		mixed[at][7] = 5
		r.keeps(mixed)
	}

	t.Log("a datagram without a whole head")
	r.keeps([][]byte{head[:7]})

	t.Log("another source, and another port of the relay")
	other := s.sender.listen(t, "192.0.2.1:1112")
	elsewhere := s.relay.listen(t, "192.0.2.2:3479")
	must(t, other.Write(bundle(head, 1, 1000), r.flow.At))
	must(t, r.from.Write(bundle(head, 1, 1000), elsewhere.LocalAddr()))
	arrives(t, r.at)
	arrives(t, elsewhere)

	t.Log("the flow itself is still forwarded")
	r.forwards(bundle(head, 5, 1000))
}

func arrives(t *testing.T, e *end) {
	t.Helper()
	select {
	case <-e.got:
	case <-time.After(patience):
		t.Errorf("nothing came to %v", e.LocalAddr())
	}
}

// What the way out can't carry in one piece is user space's business.
func TestTooLong(t *testing.T) {
	s := newStage(t)
	s.relay.do(t, func() error {
		link, err := netlink.LinkByName("out")
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(link, 1300)
	})
	for _, six := range []bool{false, true} {
		r := s.trio(six)
		r.install()
		longest := 1300 - 28
		if six {
			longest -= 20
		}
		r.forwards(bundle(head, 3, longest))
		r.forwards([][]byte{bundle(head, 2, longest)[0]})
		r.keeps(bundle(head, 3, longest+1))
		r.keeps([][]byte{bundle(head, 2, longest+1)[0]})
	}
}

// TestSamples waits until user space hears a flow that the kernel forwards.
func TestSamples(t *testing.T) {
	r := newStage(t).trio(false)
	r.install()
	for samples, deadline := 0, time.Now().Add(patience); samples < 3; {
		if time.Now().After(deadline) {
			t.Fatalf("%d samples came, want 3", samples)
		}
		_, here := r.send(bundle(head, 3, 1000))
		if len(here) > 0 {
			samples++
		}
	}
	if r.count().Packets == 0 {
		t.Error("all went to user space")
	}
}

// TestLimit has two flows share a bucket that holds little and fills slowly.
func TestLimit(t *testing.T) {
	const rate, burst = 100_000, 50_000
	r := newStage(t).trio(false)
	r.exit.Limit = 9
	second := *r
	second.flow.Head[7] = 5
	r.relay.do(t, func() error { return r.table.Limit(9, rate, burst) })
	r.install()
	second.install()
	begin := time.Now()
	pace := time.NewTicker(10 * time.Millisecond) // some times the rate
	defer pace.Stop()
	var sent uint64
	for time.Since(begin) < 3*time.Second {
		for _, h := range [][8]byte{head, second.flow.Head} {
			must(t, r.from.Write(bundle(h, 10, 1000), r.flow.At))
			sent += 9500
		}
		<-pace.C
	}
	span := time.Since(begin).Seconds()
	one, two := r.count(), second.count()
	most := uint64(burst + rate*(span+1))
	if got := one.Bytes + two.Bytes; got < rate || got > most || one.Dropped == 0 || two.Dropped == 0 {
		t.Errorf("of %d bytes %+v and %+v in %.1f s, want at most %d", sent, one, two, span, most)
	}
}

// Nothing is left behind by a table that is closed.
func TestClose(t *testing.T) {
	r := newStage(t).trio(false)
	r.install()
	r.forwards(bundle(head, 5, 1000))
	r.relay.do(t, func() (err error) {
		r.table.Close()
		r.table, err = inkernel.New()
		return err
	})
	r.keeps(bundle(head, 5, 1000))
}

// TestRights has the relay's host down to the rights that the unit of systemd leaves.
func TestRights(t *testing.T) {
	h := newHost(t)
	for _, row := range []struct {
		rights uint64
		want   bool
	}{
		{1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_BPF, true},
		{1 << unix.CAP_NET_ADMIN, false},
		{0, false},
	} {
		h.do(t, func() error {
			header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var data [2]unix.CapUserData
			for i := range data {
				data[i].Effective = uint32(row.rights >> (32 * i))
				data[i].Permitted = data[i].Effective
			}
			if err := unix.Capset(&header, &data[0]); err != nil {
				return err
			}
			table, err := inkernel.New()
			if err == nil {
				table.Close()
			}
			if got := err == nil; got != row.want {
				return fmt.Errorf("rights %#x: %v", row.rights, err)
			}
			return nil
		})
	}
}

func TestPathTo(t *testing.T) {
	s := newStage(t)
	s.relay.do(t, func() error {
		for _, addr := range []string{"127.0.0.1", "::1", "192.0.2.2", "fe80::1"} {
			if p, err := inkernel.PathTo(netip.MustParseAddr(addr), netip.Addr{}); err == nil {
				return fmt.Errorf("there is a path to %s: %+v", addr, p)
			}
		}
		own := netip.MustParseAddr("198.51.100.2")
		for _, from := range []netip.Addr{own, netip.IPv4Unspecified(), {}} {
			p, err := inkernel.PathTo(netip.MustParseAddr("198.51.100.1"), from)
			if err != nil {
				return err
			}
			if p.Source != own || p.MTU != 1500 {
				return fmt.Errorf("the path from %v is %+v", from, p)
			}
		}
		return nil
	})
}
