package portmap

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/huin/goupnp"
)

// Limits of what is read from a gateway. Real descriptions have 3 to 20 KiB.
const (
	maxBody    = 256 << 10
	maxHeaders = 16 << 10
	webTimeout = 2 * time.Second // of one request
)

// webClient is an HTTP client that can reach the gateway and nothing else: no
// proxy, no redirects, no connections kept, bodies cut off.
func webClient(g Gateway) *http.Client {
	dialer := &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(g.Local, 0))}
	return &http.Client{
		Timeout: webTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
		Transport: shortBodies{&http.Transport{
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHeaders,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				to, err := onGateway(&url.URL{Scheme: "http", Host: addr}, g.Addr)
				if err != nil {
					return nil, err
				}
				return dialer.DialContext(ctx, network, to.String())
			},
		}},
	}
}

// onGateway returns where on the gateway u leads to. A URL that names another
// host is refused. IPv6 gateways are known by their link-local address but name
// their global one, which cannot be told from another host's: so the gateway's
// address is dialled whatever they name.
func onGateway(u *url.URL, gateway netip.Addr) (netip.AddrPort, error) {
	host, err := netip.ParseAddr(u.Hostname())
	if err != nil || u.Scheme != "http" {
		return netip.AddrPort{}, fmt.Errorf("%q is no plain HTTP URL with an IP address", u)
	}
	if host.Is4() != gateway.Is4() || host.Is4() && host != gateway {
		return netip.AddrPort{}, fmt.Errorf("%q is not on the gateway %v", u, gateway)
	}
	port := uint64(80)
	if p := u.Port(); p != "" {
		if port, err = strconv.ParseUint(p, 10, 16); err != nil || port == 0 {
			return netip.AddrPort{}, fmt.Errorf("%q has no good port", u)
		}
	}
	return netip.AddrPortFrom(gateway, uint16(port)), nil
}

// shortBodies cuts off what a server sends beyond maxBody.
type shortBodies struct{ http.RoundTripper }

func (t shortBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = shortBody{io.LimitReader(resp.Body, maxBody), resp.Body}
	return resp, nil
}

type shortBody struct {
	io.Reader
	io.Closer
}

// describe fetches a device description. It does not use goupnp's own fetching,
// which goes wherever it is sent, by a client that the whole program shares.
func describe(ctx context.Context, web *http.Client, u *url.URL) (*goupnp.RootDevice, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("fetch device description: %w", err)
	}
	resp, err := web.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch device description: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch device description %q: status %d", u, resp.StatusCode)
	}
	return parseDescription(resp.Body, u)
}

// parseDescription reads a device description that came from u. The encoding it
// claims is not heeded: what is needed of it is ASCII. Nor is a base URL on
// another host: some devices name an address that they had when they were made.
func parseDescription(r io.Reader, u *url.URL) (*goupnp.RootDevice, error) {
	d := xml.NewDecoder(r)
	d.DefaultSpace = goupnp.DeviceXMLNamespace
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	root := new(goupnp.RootDevice)
	if err := d.Decode(root); err != nil {
		return nil, fmt.Errorf("read device description %q: %w", u, err)
	}
	if base, err := url.Parse(root.URLBaseStr); err == nil && base.Hostname() == u.Hostname() {
		u = base
	}
	root.SetURLBase(u)
	return root, nil
}
