package e2e

import (
	"cmp"
	"encoding/base32"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"meshd/deploy/lab"
)

// wgsdEnv makes this test binary a client that does what wgsd-client does: its value
// is a server and a zone.
const wgsdEnv = "MESHD_TEST_WGSD"

// stockEnv names a stock wgsd-client to run instead.
const stockEnv = "MESHD_WGSD_CLIENT"

// runWgsd asks for each peer of wg0 and gives it the endpoint of the answer.
func runWgsd(at string) int {
	server, zone, _ := strings.Cut(at, " ")
	if err := updatePeers("wg0", server, zone); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// updatePeers has the questions, the library and the strictness of wgsd-client:
// one question a peer, without EDNS, for the key in upper case; of the answer the
// first record, and for the address the first additional one. It differs in that a
// peer without an address is an error, where wgsd-client panics.
func updatePeers(device, server, zone string) error {
	wg, err := wgctrl.New()
	if err != nil {
		return err
	}
	defer wg.Close()
	d, err := wg.Device(device)
	if err != nil {
		return fmt.Errorf("read %s: %w", device, err)
	}
	var errs []error
	for _, p := range d.Peers {
		at, err := endpointOf(p.PublicKey, server, zone)
		if at != nil {
			err = wg.ConfigureDevice(device, wgtypes.Config{PrivateKey: &d.PrivateKey, Peers: []wgtypes.PeerConfig{
				{PublicKey: p.PublicKey, UpdateOnly: true, Endpoint: at},
			}})
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("peer %v: %w", p.PublicKey, err))
		}
	}
	return errors.Join(errs...)
}

// endpointOf is where the zone says that a peer is; nil: it doesn't say.
func endpointOf(key wgtypes.Key, server, zone string) (*net.UDPAddr, error) {
	question := new(dns.Msg)
	question.SetQuestion(base32.StdEncoding.EncodeToString(key[:])+"._wireguard._udp."+dns.Fqdn(zone), dns.TypeSRV)
	answer, _, err := new(dns.Client).Exchange(question, server)
	if err != nil || len(answer.Answer) == 0 {
		return nil, err
	}
	srv, ok := answer.Answer[0].(*dns.SRV)
	if !ok || len(answer.Extra) == 0 {
		return nil, fmt.Errorf("no SRV record with its address:\n%v", answer)
	}
	switch at := answer.Extra[0].(type) {
	case *dns.A:
		return &net.UDPAddr{IP: at.A, Port: int(srv.Port)}, nil
	case *dns.AAAA:
		return &net.UDPAddr{IP: at.AAAA, Port: int(srv.Port)}, nil
	}
	return nil, fmt.Errorf("an address does not come first:\n%v", answer)
}

// askAsWgsd has a host with WireGuard alone learn from a server where its peers are.
func askAsWgsd(t *testing.T, host *lab.Host, server string) {
	t.Helper()
	const zone = "meshd.internal"
	command := []string{"env", wgsdEnv + "=" + server + " " + zone, os.Args[0]}
	if stock := os.Getenv(stockEnv); stock != "" {
		command = []string{stock, "-device", "wg0", "-dns", server, "-zone", zone}
	}
	out, err := host.Command(t.Context(), command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmp.Or(os.Getenv(stockEnv), "wgsd-client's twin"), err, out)
	}
	t.Logf("it said %q", out)
}
