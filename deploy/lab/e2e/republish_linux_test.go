package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"testing"

	"github.com/grandcat/zeroconf"
	"golang.org/x/sys/unix"

	"meshd/deploy/lab/mesh"
)

// printerEnv makes this test binary a printer that says by mDNS where it is: its
// value is its address.
const printerEnv = "MESHD_TEST_PRINTER"

// runPrinter announces itself until SIGTERM, and says goodbye.
func runPrinter(addr string) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	ifi, err := interfaceOf(netip.MustParseAddr(addr))
	if err == nil {
		var s *zeroconf.Server
		if s, err = zeroconf.RegisterProxy("Office Printer", "_ipp._tcp", "local", 631, "printer", []string{addr},
			[]string{"txtvers=1", "rp=ipp/print"}, []net.Interface{ifi}); err == nil {
			<-ctx.Done()
			s.Shutdown()
			return 0
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func interfaceOf(addr netip.Addr) (net.Interface, error) {
	list, err := net.Interfaces()
	if err != nil {
		return net.Interface{}, err
	}
	for _, i := range list {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			if strings.HasPrefix(a.String(), addr.String()+"/") {
				return i, nil
			}
		}
	}
	return net.Interface{}, fmt.Errorf("no interface has %s", addr)
}

func TestServicesOfTheLANAreRepublished(t *testing.T) {
	w := world(t)
	host, err := w.Sites["home-a"].Host("printer")
	must(t, err)
	const at = "192.168.1.60"
	must(t, host.Readdress(netip.MustParseAddr(at)))
	printer := host.Command(t.Context(), "env", printerEnv+"="+at, os.Args[0])
	must(t, printer.Start())
	join(t, w, w.Laptop, w.Nas)

	t.Log("The laptop shows the printers of its LAN to the mesh: the nas, elsewhere, finds one.")
	_, err = w.Laptop.Command(t.Context(), "announce", "--from-lan", "_ipp._tcp")
	must(t, err)
	browse := func() string {
		out, err := w.Nas.Command(t.Context(), "browse", "ipp")
		must(t, err)
		return out
	}
	must(t, mesh.Await(t.Context(), 2*patience, func() error {
		out := browse()
		for _, want := range []string{"Office Printer", "printer.laptop.meshd.internal:631 (LAN of laptop)", at, "rp=ipp/print"} {
			if !strings.Contains(out, want) {
				return fmt.Errorf("no %q in\n%s", want, out)
			}
		}
		return nil
	}))
	s, err := w.Nas.Status(t.Context())
	must(t, err)
	awaitDig(t, w.Nas.Host, at, "@"+s.Self.Addresses[0].String(), "+short", "printer.laptop.meshd.internal", "A")

	t.Log("It is shown no more.")
	_, err = w.Laptop.Command(t.Context(), "unannounce", "--from-lan", "ipp")
	must(t, err)
	must(t, mesh.Await(t.Context(), patience, func() error {
		if out := browse(); strings.Contains(out, "Printer") {
			return fmt.Errorf("still there:\n%s", out)
		}
		return nil
	}))
	must(t, printer.Process.Signal(unix.SIGTERM))
	printer.Wait() // its end is not what is tested
}
