package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"meshd/agent/localapi"
	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
	"meshd/deploy/lab/upnp"
)

// workAddr is none of those for documentation: a router would map no ports there.
var workAddr = netip.MustParseAddr("62.20.0.1")

// addWork adds a bench behind a symmetric NAT to a world: nobody can tell to which
// port to send.
func addWork(t *testing.T, w *mesh.World) (*lab.Site, *mesh.Agent) {
	t.Helper()
	site, err := w.Lab.Site("work", lab.Gateway{
		Public: workAddr, LAN: netip.MustParsePrefix("192.168.1.0/24"), NAT: lab.Symmetric, Link: lab.Delay{OneWay: 5 * time.Millisecond},
	})
	must(t, err)
	host, err := site.Host("bench")
	must(t, err)
	bench := mesh.NewAgent(host, bin)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("bench said:\n%s", bench.Log())
		}
	})
	return site, bench
}

// talksDirectly has two members talk by a mapped address, and counts in the core
// which way it goes. While a new path is not sure yet, data goes both ways for
// some moments.
func talksDirectly(t *testing.T, w *mesh.World, bench *mesh.Agent, at netip.AddrPort) {
	t.Helper()
	must(t, mesh.Await(t.Context(), patience, func() error {
		p, err := w.Laptop.Peer(t.Context(), "bench")
		if err == nil && p.Endpoint != at.String() {
			err = fmt.Errorf("the bench is reached by %q %s, want %s", p.Path, p.Endpoint, at)
		}
		return err
	}))
	must(t, bench.AwaitPath(t.Context(), patience, "laptop", "direct"))
	must(t, mesh.Await(t.Context(), patience, func() error {
		var relayed uint64
		direct := passed(t, w.Lab, mesh.HomeAAddr, workAddr, func() {
			relayed = passed(t, w.Lab, workAddr, mesh.HubAddr, func() {
				push(t, w.Laptop, bench, megabyte)
				push(t, bench, w.Laptop, megabyte)
			})
		})
		if direct < 2*megabyte || relayed > megabyte/10 {
			return fmt.Errorf("of 2 MiB the core carried %d bytes between the two, and %d to and from the hub", direct, relayed)
		}
		return nil
	}))
}

// awaitMapped waits until a member says that it is reached at a mapped address.
func awaitMapped(t *testing.T, a *mesh.Agent) (e localapi.Endpoint) {
	t.Helper()
	must(t, mesh.Await(t.Context(), patience, func() error {
		s, err := a.Status(t.Context())
		if err != nil {
			return err
		}
		i := slices.IndexFunc(s.Self.Endpoints, func(e localapi.Endpoint) bool { return e.Kind == "mapped" })
		if i < 0 {
			return fmt.Errorf("no mapped endpoint among %v", s.Self.Endpoints)
		}
		e = s.Self.Endpoints[i]
		return nil
	}))
	return e
}

func TestGatewayMapsThePort(t *testing.T) {
	w := world(t)
	site, bench := addWork(t, w)
	router, err := upnp.Start(t.Context(), site, upnp.Config{NoNATPMP: true})
	must(t, err)
	defer router.Stop(t.Context())

	t.Log("A bench whose gateway draws a port for every destination, but maps ports when asked to.")
	join(t, w, w.Laptop, bench)
	e := awaitMapped(t, bench)
	if e.Protocol != "UPnP" || e.Untrusted || e.Addr.Addr() != workAddr {
		t.Errorf("got %+v, want an address of %v by UPnP", e, workAddr)
	}
	talksDirectly(t, w, bench, e.Addr)

	t.Log("Even a desk behind another such NAT reaches it by that.")
	join(t, w, w.Desk)
	must(t, w.Desk.AwaitPath(t.Context(), patience, "bench", "direct"))
	must(t, bench.AwaitPath(t.Context(), patience, "desk", "direct"))

	t.Log("The gateway has nothing left of it when the mesh is down.")
	began := time.Now()
	must(t, bench.Down(t.Context()))
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("down took %v", took)
	}
	left, err := router.Mappings(t.Context())
	must(t, err)
	if len(left) != 0 {
		t.Errorf("the gateway still has %q", left)
	}

	t.Log("The owner does not want that: nothing is mapped.")
	_, err = bench.Up(t.Context(), "--port-mapping", "off")
	must(t, err)
	must(t, bench.AwaitPing(t.Context(), patience, "laptop"))
	if left, err = router.Mappings(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("the gateway has %q, %v, although mapping is off", left, err)
	}
}

func TestOwnerForwardsThePort(t *testing.T) {
	w := world(t)
	site, bench := addWork(t, w)
	must(t, site.Gateway.Forward(`
add rule ip gateway forward ct status dnat accept
table ip forwarded {
	chain prerouting {
		type nat hook prerouting priority -100;
		iifname wan0 udp dport 2000 dnat to 192.168.1.2:41641
	}
}`))
	join(t, w, w.Laptop)
	_, err := bench.Up(t.Context(), key(t, w, "--approved"), "--port", "41641", "--advertise-endpoint", "62.20.0.1:2000")
	must(t, err)
	e := awaitMapped(t, bench)
	if e.Addr.String() != "62.20.0.1:2000" || e.Protocol != "" {
		t.Errorf("got %+v, want what was advertised", e)
	}
	talksDirectly(t, w, bench, e.Addr)

	t.Log("It lasts.")
	must(t, bench.Down(t.Context()))
	_, err = bench.Up(t.Context())
	must(t, err)
	talksDirectly(t, w, bench, e.Addr)
}

func TestUpRightAfterACrash(t *testing.T) {
	w := world(t)
	join(t, w, w.Laptop)
	for range 5 {
		must(t, w.Laptop.Kill(t.Context()))
		_, err := w.Laptop.Up(t.Context())
		must(t, err)
	}
	if _, err := w.Laptop.Command(t.Context(), "ping", "laptop"); err == nil {
		t.Error("a machine has pinged itself")
	} else {
		refused(t, "ping of itself", err, "laptop is this machine")
	}
}
