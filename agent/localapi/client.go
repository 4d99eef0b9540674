package localapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// settleTimeout is how long a daemon that is on its way out is waited for.
const settleTimeout = 2 * time.Second

// Client asks the daemon on one socket. It holds no connection between calls
// and is safe for concurrent use.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client of the daemon at socket, without asking it yet.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	return &Client{socket: socket, http: &http.Client{Transport: transport}}
}

// Version returns the daemon's version and process id.
func (c *Client) Version(ctx context.Context) (Version, error) {
	var v Version
	return v, c.do(ctx, http.MethodGet, "/version", nil, &v)
}

// Status returns how the mesh stands.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.do(ctx, http.MethodGet, "/status", nil, &s)
}

// Settled is Status, but a daemon that is on its way out (after kill -9 its socket
// lives for some moments) gets up to two seconds to be gone, or to be another.
func (c *Client) Settled(ctx context.Context) (Status, error) {
	return patiently(ctx, settleTimeout, c.Status)
}

// Up makes the mesh wanted, joining first where req says so. It returns once the
// coordinator took or refused the join string, or could not be reached at the
// first attempt; the daemon goes on by itself then, and Status tells how far it is.
func (c *Client) Up(ctx context.Context, req UpRequest) error {
	return c.do(ctx, http.MethodPost, "/up", req, nil)
}

// Ping asks peer, a name or an overlay address, for one answer.
func (c *Client) Ping(ctx context.Context, peer string) (PingReply, error) {
	var p PingReply
	return p, c.do(ctx, http.MethodGet, "/ping?"+url.Values{"peer": {peer}}.Encode(), nil, &p)
}

// Why tells how peer, a name or an overlay address, is reached, and why not directly.
func (c *Client) Why(ctx context.Context, peer string) (Why, error) {
	var w Why
	return w, c.do(ctx, http.MethodGet, "/why?"+url.Values{"peer": {peer}}.Encode(), nil, &w)
}

// Netcheck has the daemon look at this machine's network from the hub: some
// seconds, and minutes with the lifetime of mappings.
func (c *Client) Netcheck(ctx context.Context, lifetime bool) (Netcheck, error) {
	path := "/netcheck"
	if lifetime {
		path += "?lifetime=yes"
	}
	var n Netcheck
	return n, c.do(ctx, http.MethodGet, path, nil, &n)
}

// DNSKey returns by what this machine may write its names at the coordinator.
func (c *Client) DNSKey(ctx context.Context) (DNSKey, error) {
	var k DNSKey
	return k, c.do(ctx, http.MethodGet, "/dns/key", nil, &k)
}

// Down takes the mesh down and ends the daemon. It returns when the daemon is
// gone, so that another may start at once.
func (c *Client) Down(ctx context.Context) error {
	if err := c.do(ctx, http.MethodPost, "/down", nil, nil); err != nil && !errors.Is(err, ErrHungUp) {
		return err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := c.Version(ctx); errors.Is(err, ErrNotRunning) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the daemon at %q to end: %w", c.socket, ctx.Err())
		}
	}
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return fmt.Errorf("ask the daemon: %v", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://meshd"+path, &body)
	if err != nil {
		return fmt.Errorf("ask the daemon: %v", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.noAnswer(errors.Unwrap(err)) // without the URL, which means nothing to anybody
	}
	defer resp.Body.Close()
	if err = read(resp, out); errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return c.hungUp(err)
	}
	return err
}

// read takes the answer apart: 2xx into out, everything else into an Error.
func read(resp *http.Response, out any) error {
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
		e := &Error{}
		if json.Unmarshal(text, e) != nil || e.Message == "" {
			return fmt.Errorf("the daemon answered %s", resp.Status)
		}
		return e
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	return nil
}

// noAnswer tells the ways apart in which there can be none.
func (c *Client) noAnswer(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return &Error{Message: fmt.Sprintf("no meshd daemon is running on %q", c.socket),
			Hint: "start it with `meshd up`", cause: ErrNotRunning}
	case errors.Is(err, fs.ErrPermission):
		return &Error{Message: fmt.Sprintf("open %q: permission denied", c.socket),
			Hint: "run this as root", cause: fs.ErrPermission}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), isDial(err):
		return fmt.Errorf("ask the daemon on %q: %w", c.socket, err)
	}
	return c.hungUp(err)
}

func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// hungUp is for all that can befall a connection that was made.
func (c *Client) hungUp(err error) error {
	return &Error{Message: fmt.Sprintf("the meshd daemon on %q hung up before it answered: %v", c.socket, err),
		Hint: "say it again; if that does not help, see the daemon's log", cause: ErrHungUp}
}

// patiently asks again while a daemon that is on its way out holds the socket,
// for limit at most.
func patiently[T any](ctx context.Context, limit time.Duration, ask func(context.Context) (T, error)) (T, error) {
	enough := time.NewTimer(limit)
	defer enough.Stop()
	for {
		v, err := ask(ctx)
		if !errors.Is(err, ErrHungUp) {
			return v, err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-enough.C:
			return v, err
		case <-ctx.Done():
			return v, err
		}
	}
}
