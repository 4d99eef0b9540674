package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"meshd/coordinator/api/meshd/v1/meshdv1connect"
)

const (
	// dialTimeout bounds each of connecting and shaking hands: several times
	// the worst satellite round trip, and short enough to try the next host.
	dialTimeout = 5 * time.Second
	// pingAfter and pingTimeout find a dead connection within 13 s; the
	// coordinator is silent for up to 20 s. A ping costs 90 bytes.
	pingAfter   = 10 * time.Second
	pingTimeout = 3 * time.Second
)

// ClientConfig says which coordinator to reach, and as whom.
type ClientConfig struct {
	Hosts    []string // as in a join string, at least one
	Port     uint16
	Pin      Pin
	Identity *Identity
	// DialContext makes TCP connections; nil means a [net.Dialer].
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Client reaches one coordinator by whichever of its hosts answers, through the
// proxy that the environment names (HTTPS_PROXY, NO_PROXY). It keeps one HTTP/2
// connection, made by the first call. Safe for concurrent use.
type Client struct {
	Control meshdv1connect.ControlServiceClient

	addrs  []string // host:port
	hosts  []string
	good   atomic.Int32 // index of the host that answered last
	direct *http.Transport
	http   *http.Client
}

// Dial returns a client. It opens no connection yet, so it cannot fail.
func Dial(c ClientConfig) *Client {
	dial := c.DialContext
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	client := &Client{hosts: c.Hosts, direct: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dial,
		TLSClientConfig:     ClientTLS(c.Identity, c.Pin),
		TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		IdleConnTimeout:     time.Minute,
	}}
	for _, h := range c.Hosts {
		client.addrs = append(client.addrs, hostPort(h, c.Port))
	}
	client.http = &http.Client{
		Transport: roundTripper(client.roundTrip),
		// A redirect would leave the pinned coordinator.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	client.Control = meshdv1connect.NewControlServiceClient(client.http, client.URL(""))
	return client
}

// HTTP returns the client beneath, for the WebSocket relay: pinned, through the
// same proxies, and free to pick the host.
func (c *Client) HTTP() *http.Client { return c.http }

// Host returns the host that answered last, or the first one before any did.
func (c *Client) Host() string { return c.hosts[c.good.Load()] }

// URL returns the address of a path (such as "/relay") at the coordinator.
func (c *Client) URL(path string) string { return "https://" + c.addrs[c.good.Load()] + path }

// CloseIdle closes connections that carry no call now, so that the next call
// dials anew: for use after the host's network has changed.
func (c *Client) CloseIdle() { c.direct.CloseIdleConnections() }

// roundTrip sends the request to the host that answered last, and while no
// connection comes about, to the others in turn.
func (c *Client) roundTrip(req *http.Request) (*http.Response, error) {
	var failed []error
	first := int(c.good.Load())
	for i := range c.addrs {
		n := (first + i) % len(c.addrs)
		try, err := redirect(req, c.addrs[n], i > 0)
		if err != nil {
			return nil, errors.Join(append(failed, err)...)
		}
		var connected atomic.Bool
		trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}
		resp, err := c.direct.RoundTrip(try.WithContext(httptrace.WithClientTrace(try.Context(), trace)))
		if err == nil {
			c.good.Store(int32(n))
			return resp, nil
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // connect takes EOF for an end of its own, and drops what wraps it
		}
		failed = append(failed, &DialError{Addr: c.addrs[n], Err: err})
		if connected.Load() || req.Context().Err() != nil {
			break // it may have been heard: only the caller knows whether to say it twice
		}
	}
	return nil, errors.Join(failed...)
}

// redirect addresses a request to another host. A second try needs the body
// again; every call of ours but a client stream (there is none) can give it.
func redirect(req *http.Request, addr string, again bool) (*http.Request, error) {
	try := req.Clone(req.Context())
	try.URL.Host, try.Host = addr, ""
	if !again || req.Body == nil || req.Body == http.NoBody {
		return try, nil
	}
	if req.GetBody == nil {
		return nil, errors.New("the request cannot be sent a second time")
	}
	var err error
	try.Body, err = req.GetBody()
	return try, err
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// DialAdmin returns a client for the coordinator's unix socket. It opens no
// connection yet. Whoever may open the socket may do everything.
func DialAdmin(socket string) meshdv1connect.AdminServiceClient {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", socket)
		if err != nil {
			return nil, &DialError{Addr: socket, Err: err}
		}
		return conn, nil
	}}
	return meshdv1connect.NewAdminServiceClient(&http.Client{Transport: transport}, "http://coordinator")
}
