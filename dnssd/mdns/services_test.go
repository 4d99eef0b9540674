package mdns

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// TestWatch: what is heard is told once, what left is told after its time, or a
// second after it said so, and no more than the limit is remembered.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var there, told, calls atomic.Int32
		there.Store(1)
		say := make(chan mention)
		w := Watch{
			Type: "_ipp._tcp", Interfaces: func() []Interface { return []Interface{eth0} }, Log: slog.New(slog.DiscardHandler),
			Changed: func(list []Service) { told.Store(int32(len(list))); calls.Add(1) },
			browse: func(ctx context.Context, _ string, _ []Interface, found func(Service)) error {
				for i := range there.Load() {
					found(Service{Instance: fmt.Sprint(i), Host: "p.local.", Port: 631, Addresses: []netip.Addr{eth0.Addresses[0]}})
				}
				<-ctx.Done()
				return nil
			},
			listen: func(ctx context.Context, _ string, _ []Interface, said func(mention)) error {
				for {
					select {
					case m := <-say:
						said(m)
					case <-ctx.Done():
						return nil
					}
				}
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		expect := func(when string, list, news int32) {
			t.Helper()
			synctest.Wait()
			if told.Load() != list || calls.Load() != news {
				t.Errorf("%s: told of %d in %d calls, want %d in %d", when, told.Load(), calls.Load(), list, news)
			}
		}
		const cycle = watchRound + watchPause
		expect("at first", 1, 1)
		await(ctx, nil, 3*cycle+watchRound+time.Second)
		expect("the same again", 1, 1)
		say <- mention{"0", true}
		await(ctx, nil, farewell/2)
		expect("it says goodbye", 1, 1)
		say <- mention{"0", false}
		await(ctx, nil, farewell)
		expect("but is still there", 1, 1)
		say <- mention{"0", true}
		say <- mention{"nobody", true}
		await(ctx, nil, farewell)
		expect("it says goodbye, and goes", 0, 2)
		await(ctx, nil, cycle)
		expect("it comes back", 1, 3)
		there.Store(0)
		await(ctx, nil, unheard)
		expect("it goes without a word", 0, 4)
		there.Store(MaxInstances + 3)
		await(ctx, nil, cycle)
		expect("many", MaxInstances, 4+MaxInstances)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestWatchTellsOfNothing: that there is nothing is told once.
func TestWatchTellsOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nothing := 0
		w := Watch{Type: "_ipp._tcp", Interfaces: func() []Interface { return nil }, Log: slog.New(slog.DiscardHandler),
			Changed: func(list []Service) { nothing++ }}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if err := w.Run(ctx); err != nil || nothing != 1 {
			t.Errorf("told %d times, err %v; want once", nothing, err)
		}
	})
}

// response packs a message as responders send it.
func response(t testing.TB, response bool, records ...string) []byte {
	t.Helper()
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: response, Authoritative: true}}
	for _, r := range records {
		rr, err := dns.NewRR(r)
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMentions(t *testing.T) {
	const here, gone = `_ipp._tcp.local. 4500 PTR Office\ Printer._ipp._tcp.local.`, `_IPP._tcp.local. 0 PTR Attic._ipp._tcp.Local.`
	whole := response(t, true, here, gone)
	for _, c := range []struct {
		what    string
		message []byte
		want    []mention
	}{
		{"one here, one gone", whole, []mention{{`Office\ Printer`, false}, {"Attic", true}}},
		{"a question is no answer", response(t, false, here), nil},
		{"of another type", response(t, true, "_http._tcp.local. 0 PTR Attic._http._tcp.local."), nil},
		{"to another type", response(t, true, "_ipp._tcp.local. 0 PTR Attic._http._tcp.local."), nil},
		{"a dot within a name", response(t, true, `_ipp._tcp.local. 0 PTR attic\._ipp._tcp.local.`), nil},
		{"the type itself", response(t, true, "_ipp._tcp.local. 0 PTR _ipp._tcp.local."), nil},
		{"no pointer", response(t, true, "_ipp._tcp.local. 0 TXT gone"), nil},
		{"cut", whole[:len(whole)-1], nil},
		{"nothing", nil, nil},
	} {
		if diff := cmp.Diff(c.want, mentions(c.message, "_ipp._tcp"), cmp.AllowUnexported(mention{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
	}
}

// FuzzMentions feeds what anybody on the LAN may send.
func FuzzMentions(f *testing.F) {
	f.Add(response(f, true, `_ipp._tcp.local. 0 PTR Office\ Printer._ipp._tcp.local.`))
	f.Add(response(f, false, `_ipp._tcp.local. 0 PTR .`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, m := range mentions(b, "_ipp._tcp") {
			if _, ok := dns.IsDomainName(m.instance + "._ipp._tcp.local."); !ok || m.instance == "" {
				t.Errorf("%q is mentioned", m.instance)
			}
		}
	})
}
