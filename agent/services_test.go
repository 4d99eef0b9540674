package agent

import (
	"context"
	"slices"
	"strings"
	"testing"

	"meshd/agent/localapi"
	"meshd/dnssd"
)

// TestServicesAreAnnounced: what one member announces, others browse, and both
// their zones show; the hub forgets what is withdrawn, also after a restart.
func TestServicesAreAnnounced(t *testing.T) {
	hub := newHub(t)
	nas, laptop := newMachine(t, "nas"), newMachine(t, "laptop")
	atNAS := nas.start(hub.Join().String())
	atNAS.awaitState(localapi.Running) // so that it is the first member
	atLaptop := laptop.start(hub.Join().String())
	atLaptop.awaitState(localapi.Running)
	ctx := context.Background()
	at := func() (names []string) {
		for _, s := range hub.Member("nas").GetServices() {
			names = append(names, s.GetType()+" "+s.GetInstance())
		}
		slices.Sort(names)
		return names
	}

	t.Log("the nas announces its web pages and its shell")
	s, err := atNAS.Announce(ctx, localapi.AnnounceRequest{Type: "http", Port: 8080, Name: "Photos", Text: []string{"path=/photos"}})
	if err != nil || s.Type != "_http._tcp" || s.Host != "nas.apitest.internal" || s.Addresses[0].String() != "100.96.0.1" {
		t.Fatalf("got %+v, %v", s, err)
	}
	if s, err = atNAS.Announce(ctx, localapi.AnnounceRequest{Type: "_ssh._tcp", Port: 22}); err != nil || s.Instance != "nas" {
		t.Fatalf("got %+v, %v", s, err)
	}
	await(t, "the hub has both", func() bool { return slices.Equal(at(), []string{"_http._tcp Photos", "_ssh._tcp nas"}) })
	if e := hub.Member("nas").GetEndpoints(); len(e) != 1 || e[0].GetAddress() != endpoint.Addr.String() {
		t.Errorf("endpoints are %v beside them, want %v", e, endpoint.Addr)
	}

	t.Log("the laptop finds them, by meshd and by DNS")
	await(t, "the laptop sees both", func() bool {
		list, err := atLaptop.Browse(ctx, "")
		return err == nil && len(list) == 2 && list[0].Instance == "Photos" && list[0].Member == "nas" && list[0].Port == 8080 && list[1].Type == "_ssh._tcp"
	})
	laptop.awaitAnswer("100.96.0.2", "_http._tcp.apitest.internal", "PTR", "Photos._http._tcp.apitest.internal.")
	laptop.awaitAnswer("100.96.0.2", "Photos._http._tcp.apitest.internal", "SRV", "0 0 8080 nas.apitest.internal.")
	nas.awaitAnswer("100.96.0.1", "Photos._http._tcp.apitest.internal", "TXT", `"path=/photos"`)

	t.Log("its name is its own")
	if _, err := atLaptop.Announce(ctx, localapi.AnnounceRequest{Type: "http", Port: 80, Name: "photos"}); err == nil || !strings.Contains(err.Error(), "nas announces") {
		t.Errorf("got %v, want who has it", err)
	}

	t.Log("what breaks a limit is an error that names it")
	for want, r := range map[string]localapi.AnnounceRequest{
		"1 to 63":     {Type: "http", Port: 80, Name: strings.Repeat("x", 64)},
		"more than":   {Type: "a-very-long-service", Port: 80},
		"port 0":      {Type: "http"},
		"key=value":   {Type: "http", Port: 80, Text: []string{"=x"}},
		"_sctp":       {Type: "_http._sctp", Port: 80},
		"bytes, more": {Type: "http", Port: 80, Text: []string{"k=" + strings.Repeat("v", 300)}},
	} {
		if _, err := atNAS.Announce(ctx, r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want …%s…", err, want)
		}
	}

	t.Log("it is restarted, and withdraws one: the hub has the other")
	atNAS.stop()
	atNAS = nas.start("")
	atNAS.awaitState(localapi.Running)
	if list, err := atNAS.Announced(ctx); err != nil || len(list) != 2 {
		t.Errorf("announces %v, %v after a restart, want both", list, err)
	}
	gone, err := atNAS.Unannounce(ctx, localapi.UnannounceRequest{Type: "http"})
	if err != nil || len(gone) != 1 || gone[0].Instance != "Photos" {
		t.Errorf("withdrew %v, %v", gone, err)
	}
	await(t, "the hub has one", func() bool { return slices.Equal(at(), []string{"_ssh._tcp nas"}) })
	laptop.awaitAnswer("100.96.0.2", "Photos._http._tcp.apitest.internal", "SRV", "NXDOMAIN")
	if _, err := atNAS.Unannounce(ctx, localapi.UnannounceRequest{Type: "http"}); err == nil {
		t.Error("it was withdrawn twice")
	}
}

// TestServiceThatTheHubRefuses: another member took the name at the same time.
// The rest is published, health says which is not, and the machine has its names.
func TestServiceThatTheHubRefuses(t *testing.T) {
	hub := newHub(t)
	nas, laptop := newMachine(t, "nas"), newMachine(t, "laptop")
	atNAS := nas.start(hub.Join().String())
	atNAS.awaitState(localapi.Running)
	if _, err := atNAS.Announce(t.Context(), localapi.AnnounceRequest{Type: "http", Port: 80, Name: "Files"}); err != nil {
		t.Fatal(err)
	}
	await(t, "the hub has it", func() bool { return len(hub.Member("nas").GetServices()) == 1 })
	f, err := openFolder(laptop.config.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	err = f.save(state{Version: stateVersion, Services: []dnssd.Service{
		{Instance: "Files", Type: "_http._tcp", Port: 81}, {Instance: "laptop", Type: "_ssh._tcp", Port: 22},
	}})
	if err != nil {
		t.Fatal(err)
	}
	atLaptop := laptop.start(hub.Join().String())
	atLaptop.awaitState(localapi.Running)
	await(t, "the other is published", func() bool {
		list := hub.Member("laptop").GetServices()
		return len(list) == 1 && list[0].GetInstance() == "laptop"
	})
	await(t, "health says so", func() bool {
		return slices.ContainsFunc(atLaptop.Status().Health, func(s string) bool {
			return strings.Contains(s, `"Files"`) && strings.Contains(s, "not published")
		})
	})
	laptop.awaitAnswer("100.96.0.2", "laptop.apitest.internal", "A", "100.96.0.2")
	if got := hub.Member("nas").GetServices(); len(got) != 1 || got[0].GetPort() != 80 {
		t.Errorf("the nas has %v", got)
	}
}

func TestUnionOfServices(t *testing.T) {
	a := dnssd.Service{Instance: "a", Type: "_http._tcp", Port: 1}
	again := dnssd.Service{Instance: "A", Type: "_HTTP._tcp", Port: 2}
	b := dnssd.Service{Instance: "a", Type: "_ssh._tcp", Port: 3}
	if got := union([]dnssd.Service{a}, []dnssd.Service{again, b}); len(got) != 2 || !got[0].Equal(a) || !got[1].Equal(b) {
		t.Errorf("got %v", got)
	}
}
