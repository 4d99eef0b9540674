package agent

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"meshd/agent/localapi"
	"meshd/dnssd/mdns"
)

// TestRepublish: what is heard on the LAN is published under this member, goes
// when it leaves, and goes with the wish.
func TestRepublish(t *testing.T) {
	hub := newHub(t)
	m := newMachine(t, "nas")
	var watch atomic.Pointer[mdns.Watch]
	m.config.WatchLAN = func(w mdns.Watch) func(context.Context) error {
		return func(ctx context.Context) error {
			watch.Store(&w)
			<-ctx.Done()
			return nil
		}
	}
	a := m.start(hub.Join().String())
	a.awaitState(localapi.Running)
	at := func() string {
		var names []string
		for _, s := range hub.Member("nas").GetServices() {
			names = append(names, s.GetInstance()+" at "+s.GetHost())
		}
		return strings.Join(names, ", ")
	}
	if _, err := a.Announce(t.Context(), localapi.AnnounceRequest{Type: "ipp", FromLAN: true}); err != nil {
		t.Fatal(err)
	}
	await(t, "listening", func() bool { return watch.Load() != nil })
	printer := mdns.Service{Instance: "Office", Host: "Brother 7.local.", Port: 631, Text: []string{"rp=a", "", "RP=b"},
		Addresses: []netip.Addr{addr("100.96.0.9"), addr("192.168.1.9")}}
	bad := printer
	bad.Instance, bad.Text = "Long", []string{"k=" + strings.Repeat("v", 300)}
	watch.Load().Changed([]mdns.Service{bad, printer})
	await(t, "published", func() bool { return at() == "Office at brother-7" })
	await(t, "seen here as it is", func() bool {
		list, err := a.Browse(t.Context(), "ipp")
		return err == nil && len(list) == 1 && list[0].LAN && list[0].Host == "brother-7.nas.apitest.internal" &&
			slices.Equal(list[0].Addresses, []netip.Addr{addr("192.168.1.9")}) && slices.Equal(list[0].Text, []string{"rp=a"})
	})

	t.Log("it leaves the LAN, and comes back")
	watch.Load().Changed(nil)
	await(t, "withdrawn", func() bool { return at() == "" })
	watch.Load().Changed([]mdns.Service{printer})
	await(t, "published", func() bool { return at() != "" })

	t.Log("without multicast DNS nothing of the LAN is shown, and no more types are taken")
	mode := func(m string) {
		t.Helper()
		if err := a.Set(t.Context(), map[string]string{"mdns": m}); err != nil {
			t.Fatal(err)
		}
	}
	mode("off")
	await(t, "withdrawn", func() bool { return at() == "" })
	if _, err := a.Announce(t.Context(), localapi.AnnounceRequest{Type: "http", FromLAN: true}); err == nil || !strings.Contains(err.Error(), "multicast DNS is off") {
		t.Errorf("announce --from-lan: %v", err)
	}
	watch.Store(nil)
	mode("auto")
	await(t, "listening", func() bool { return watch.Load() != nil })
	watch.Load().Changed([]mdns.Service{printer})
	await(t, "published", func() bool { return at() != "" })

	t.Log("the wish lasts over a restart, and then ends")
	a.stop()
	watch.Store(nil)
	a = m.start("")
	a.awaitState(localapi.Running)
	await(t, "listening", func() bool { return watch.Load() != nil })
	watch.Load().Changed([]mdns.Service{printer})
	await(t, "announced", func() bool {
		list, err := a.Announced(t.Context())
		return err == nil && len(list) == 1
	})
	await(t, "published", func() bool { return at() != "" })
	gone, err := a.Unannounce(t.Context(), localapi.UnannounceRequest{Type: "ipp", FromLAN: true})
	if err != nil || len(gone) != 1 {
		t.Errorf("withdrew %v, %v", gone, err)
	}
	await(t, "withdrawn", func() bool { return at() == "" })
	if _, err := a.Unannounce(t.Context(), localapi.UnannounceRequest{Type: "ipp", FromLAN: true}); err == nil {
		t.Error("it was withdrawn twice")
	}
}
