package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"meshd/deploy/lab/mesh"
)

func TestServicesOfTheLANAreRepublished(t *testing.T) {
	w := world(t)
	host, err := w.Sites["home-a"].Host("printer")
	must(t, err)
	const at = "192.168.1.60"
	must(t, host.Readdress(netip.MustParseAddr(at)))
	a := startAvahi(t, host)
	publish := func() (say func(unix.Signal)) {
		cmd := a.spawn(t, avahiFolder+"/usr/bin/avahi-publish", "-s", "Office Printer", "_ipp._tcp", "631", "txtvers=1", "rp=ipp/print")
		return func(s unix.Signal) { must(t, unix.Kill(-cmd.Process.Pid, s)) }
	}
	printer := publish()
	join(t, w, w.Laptop, w.Nas)

	t.Log("The laptop shows the printers of its LAN to the mesh: the nas, elsewhere, finds one.")
	_, err = w.Laptop.Command(t.Context(), "announce", "--from-lan", "_ipp._tcp")
	must(t, err)
	browse := func() string {
		out, err := w.Nas.Command(t.Context(), "browse", "ipp")
		must(t, err)
		return out
	}
	present := func() error {
		out := browse()
		for _, want := range []string{"Office Printer", "printer.laptop.meshd.internal:631 (LAN of laptop)", at, "rp=ipp/print"} {
			if !strings.Contains(out, want) {
				return fmt.Errorf("no %q in\n%s", want, out)
			}
		}
		return nil
	}
	must(t, mesh.Await(t.Context(), 2*patience, present))
	s, err := w.Nas.Status(t.Context())
	must(t, err)
	awaitDig(t, w.Nas.Host, at, "@"+s.Self.Addresses[0].String(), "+short", "printer.laptop.meshd.internal", "A")

	absent := func() error {
		if out := browse(); strings.Contains(out, "Printer") {
			return fmt.Errorf("still there:\n%s", out)
		}
		return nil
	}

	t.Log("It is switched off, and says so: it goes at once.")
	off := time.Now()
	printer(unix.SIGTERM)
	must(t, mesh.Await(t.Context(), patience, absent))
	t.Logf("it was gone %v later", time.Since(off).Round(time.Millisecond))
	must(t, absent())

	t.Log("It comes back, and is shown no more when the laptop's owner says so.")
	publish()
	must(t, mesh.Await(t.Context(), 2*patience, present))
	_, err = w.Laptop.Command(t.Context(), "unannounce", "--from-lan", "ipp")
	must(t, err)
	must(t, mesh.Await(t.Context(), patience, absent))
}
