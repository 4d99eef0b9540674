package coordinator_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/dnssd"
)

// TestPublishedIsSeenAtOnce tells how long an endpoint takes from the member's
// mouth to every other's ear. How fast that is, the machine decides: what is
// awaited here is that it comes without anybody asking again.
func TestPublishedIsSeenAtOnce(t *testing.T) {
	h, server := withNames(t, true)
	j := h.key(&meshdv1.CreateKeyRequest{Reusable: true, Approved: true})
	nas := h.join("nas", j)
	var others []*stream
	for range 20 {
		others = append(others, h.join("desk", j).watch())
	}
	for _, s := range others {
		s.next()
	}
	atNAS := nas.watch()
	atNAS.next()
	for _, s := range others {
		for m := s.next(); !slices.Contains(names(m), "nas") || !m.GetMembers()[0].GetOnline(); {
			m = s.next()
		}
	}
	peer := dnssd.InstanceLabel([32]byte(nas.identity.Public())) + "._wireguard._udp.home.internal"
	var slowest, zone time.Duration
	for i := range 10 {
		endpoint := netip.AddrPortFrom(netip.MustParseAddr("203.0.113.9"), uint16(2000+i)).String()
		start := time.Now()
		if err := nas.publish(at("mapped " + endpoint)); err != nil {
			t.Fatal(err)
		}
		if got := answer(t, server, peer, "SRV"); got != "0 0 "+endpoint[len("203.0.113.9:"):]+" "+peer+"." {
			t.Fatalf("the zone says %s after an answer to the update, want %s", got, endpoint)
		}
		zone = max(zone, time.Since(start))
		for _, s := range others {
			if m := s.member("nas"); len(m.GetEndpoints()) != 1 || m.GetEndpoints()[0].GetAddress() != endpoint {
				t.Fatalf("got %v, want %s", m, endpoint)
			}
		}
		slowest = max(slowest, time.Since(start))
	}
	t.Logf("of 10 changes the slowest was in the zone after %v, and at all 20 agents after %v", zone, slowest)
}

// TestWhatNsupdateWrites stays: services and text across restarts of the hub and
// whatever the agent publishes, an endpoint until the agent publishes anew.
func TestWhatNsupdateWrites(t *testing.T) {
	h, server := withNames(t, true)
	nas := h.join("nas", h.key(&meshdv1.CreateKeyRequest{Approved: true}))
	stream := nas.watch()
	self := stream.next().GetSelf()
	key, err := dnssd.DeriveKey(self.GetRelayKey(), "home.internal", "nas", nas.identity.Public())
	if err != nil {
		t.Fatal(err)
	}
	peer := dnssd.InstanceLabel([32]byte(nas.identity.Public())) + "._wireguard._udp.home.internal"
	says := func(name, qtype, want string) {
		t.Helper()
		if got := answer(t, server, name, qtype); got != want {
			t.Errorf("%s %s: got %s, want %s", name, qtype, got, want)
		}
	}

	t.Log("somebody with the key of the nas writes where it is, a text and a service")
	written := at("mapped 203.0.113.9:3000")
	written.Text = []string{"room=cellar"}
	written.Services = []dnssd.Service{{Instance: "Files", Type: "_http._tcp", Port: 80, Text: []string{"path=/"}}}
	if err := update(t, server, nas, key, written); err != nil {
		t.Fatal(err)
	}
	says(peer, "SRV", "0 0 3000 "+peer+".")

	t.Log("the agent publishes another endpoint and a service of its own")
	own := at("reflexive 203.0.113.9:4000")
	own.Services = []dnssd.Service{{Instance: "nas", Type: "_ssh._tcp", Port: 22}}
	if err := nas.publish(own); err != nil {
		t.Fatal(err)
	}
	says(peer, "SRV", "0 0 4000 "+peer+".")
	says("Files._http._tcp.home.internal", "SRV", "0 0 80 nas.home.internal.")
	says("nas._ssh._tcp.home.internal", "SRV", "0 0 22 nas.home.internal.")

	t.Log("what the zone can't serve is refused, and changes nothing")
	foreign := dnssd.Publication{Services: []dnssd.Service{{Instance: "x", Type: "_http._tcp", Port: 80, Host: "tv", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}}
	for range dnssd.MaxServices {
		s := foreign.Services[0]
		s.Instance += string(rune('a' + len(foreign.Services)))
		foreign.Services = append(foreign.Services, s)
	}
	if r, ok := errors.AsType[*dnssd.Rejection](update(t, server, nas, key, foreign)); !ok || r.Rcode != "REFUSED" {
		t.Errorf("got %v, want REFUSED", r)
	}

	t.Log("the hub restarts; while the nas is away its services are too")
	h.stop()
	h.start()
	if err := nas.publish(at("reflexive 203.0.113.9:4000")); err != nil {
		t.Fatal(err)
	}
	again := nas.watch()
	again.next()
	says("Files._http._tcp.home.internal", "TXT", `"path=/"`)
	says("nas._ssh._tcp.home.internal", "SRV", "0 0 22 nas.home.internal.")
	says("_services._dns-sd._udp.home.internal", "PTR", "_http._tcp.home.internal., _ssh._tcp.home.internal., _wireguard._udp.home.internal.")
	again.close()
	await(t, "its services are gone with it", func() bool {
		return answer(t, server, "Files._http._tcp.home.internal", "SRV") == "NXDOMAIN"
	})
	nas.watch().next()
	says("Files._http._tcp.home.internal", "SRV", "0 0 80 nas.home.internal.")
}
