package mdns

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// wire is a LAN in memory: whoever announces is heard in the next round.
type wire struct {
	mu     sync.Mutex // guards following
	up     map[string]answer
	events []string // "+instance" and "-instance"
	fail   error
}

func (w *wire) announce(instance string, port uint16, on []Interface) (func(), error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return nil, w.fail
	}
	w.up[instance] = answer{instance: instance, addresses: on[0].Addresses, port: port}
	w.events = append(w.events, "+"+instance)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.up, instance)
		w.events = append(w.events, "-"+instance)
	}, nil
}

func (w *wire) browse(ctx context.Context, _ []Interface, found func(answer)) error {
	w.mu.Lock()
	var heard []answer
	for _, a := range w.up {
		heard = append(heard, a)
	}
	w.mu.Unlock()
	for _, a := range heard {
		found(a)
	}
	<-ctx.Done()
	return nil
}

// station is a member on the wire, and whom it has found last.
type station struct {
	*LAN
	key   [32]byte
	stop  func()
	mu    sync.Mutex // guards following
	peers []Peer
}

var (
	secret = [32]byte{42}
	eth0   = Interface{Name: "eth0", Addresses: []netip.Addr{netip.MustParseAddr("192.168.1.2")}}
	wlan0  = Interface{Name: "wlan0", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.2")}}
)

func (w *wire) station(t *testing.T, id byte, members ...byte) *station {
	t.Helper()
	s := &station{key: [32]byte{id}}
	s.LAN = New(Config{Secret: secret, Key: s.key, link: w, Changed: func(p []Peer) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.peers = p
	}})
	var keys [][32]byte
	for _, m := range members {
		keys = append(keys, [32]byte{m})
	}
	s.SetMembers(keys)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

func (s *station) found() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := ""
	for _, p := range s.peers {
		out += string('0'+rune(p.Key[0])) + "=" + netip.AddrPortFrom(p.Addresses[0], p.Port).String() + " "
	}
	return out
}

func (s *station) expect(t *testing.T, when, want string) {
	t.Helper()
	synctest.Wait()
	if got := s.found(); got != want {
		t.Errorf("%s: got %q, want %q", when, got, want)
	}
}

func TestFindEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{up: map[string]answer{}}
		a, b, stranger := w.station(t, 1, 1, 2), w.station(t, 2, 1, 2), w.station(t, 3, 3)
		a.SetInterfaces(41641, []Interface{eth0})
		b.SetInterfaces(7, []Interface{wlan0})
		stranger.SetInterfaces(9, []Interface{eth0})
		time.Sleep(round + pause + time.Second)
		a.expect(t, "after a round", "2=10.0.0.2:7 ")
		b.expect(t, "after a round", "1=192.168.1.2:41641 ")
		stranger.expect(t, "after a round", "")

		b.SetInterfaces(8, []Interface{eth0})
		time.Sleep(settle + round + pause)
		a.expect(t, "b moved", "2=192.168.1.2:8 ")

		b.stop()
		time.Sleep(gone + round + pause)
		a.expect(t, "b left", "")
	})
}

func TestMemberRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{up: map[string]answer{}}
		a, b := w.station(t, 1, 1, 2), w.station(t, 2, 1, 2)
		b.SetInterfaces(7, []Interface{eth0})
		a.SetInterfaces(7, []Interface{eth0})
		time.Sleep(round + pause + time.Second)
		a.expect(t, "both members", "2=192.168.1.2:7 ")
		a.SetMembers([][32]byte{{1}})
		time.Sleep(round + pause)
		a.expect(t, "b no longer a member", "")
	})
}

// TestAnnouncements: nothing is withdrawn before it was heard, a new day has a
// new name, the same interfaces again change nothing, and the end says goodbye.
func TestAnnouncements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{up: map[string]answer{}}
		s := w.station(t, 1, 1)
		day := Day(time.Now())
		today, tomorrow := Instance(secret, day, s.key), Instance(secret, day+1, s.key)
		expect := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			w.mu.Lock()
			defer w.mu.Unlock()
			if diff := cmp.Diff(w.events, want); diff != "" {
				t.Errorf("%s (-got +want):\n%s", when, diff)
			}
			w.events = nil
		}
		expect("without interfaces")
		s.SetInterfaces(7, []Interface{eth0})
		s.SetInterfaces(7, []Interface{eth0})
		expect("with one", "+"+today)
		s.SetInterfaces(7, []Interface{wlan0})
		time.Sleep(settle - time.Second)
		expect("changed a moment ago")
		time.Sleep(time.Second)
		expect("changed", "-"+today, "+"+today)
		time.Sleep(24 * time.Hour)
		expect("a day later", "-"+today, "+"+tomorrow)
		s.SetInterfaces(7, nil)
		expect("without interfaces", "-"+tomorrow)
		w.fail = context.DeadlineExceeded
		s.SetInterfaces(7, []Interface{eth0})
		expect("on a network that fails")
		w.mu.Lock()
		w.fail = nil
		w.mu.Unlock()
		time.Sleep(retry)
		expect("on a network that recovered", "+"+tomorrow)
		s.stop()
		expect("at the end", "-"+tomorrow)
	})
}

func TestInstances(t *testing.T) {
	n := &names{secret: secret}
	key, other := [32]byte{1}, [32]byte{2}
	n.set(100, [][32]byte{key, other})
	for day := int64(95); day < 106; day++ {
		got, known := n.by[Instance(secret, day, key)]
		if want := day >= 98 && day <= 102; known != want || known && got != key {
			t.Errorf("day %d as seen on day 100: known %v, want %v", day, known, want)
		}
	}
	if _, known := n.by[Instance([32]byte{}, 100, key)]; known {
		t.Error("another mesh's instance is known")
	}
	n.set(100, [][32]byte{other})
	if _, known := n.by[Instance(secret, 100, key)]; known || len(n.by) != 2*slack+1 {
		t.Error("a member that left is known")
	}
	n.set(110, [][32]byte{other})
	if _, known := n.by[Instance(secret, 110, other)]; !known || len(n.by) != 2*slack+1 {
		t.Error("names don't follow the day")
	}
	all := []string{Instance(secret, 1, key), Instance(secret, 2, key), Instance(secret, 1, other)}
	slices.Sort(all)
	if len(slices.Compact(all)) != 3 || len(all[0]) != 16 {
		t.Errorf("instances are not three of 16 digits: %v", all)
	}
}
