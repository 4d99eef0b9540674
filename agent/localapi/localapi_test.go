package localapi

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend answers from its fields.
type backend struct {
	status Status
	up     func(context.Context, UpRequest) error
	down   func(context.Context) error
	ping   func(context.Context, string) (PingReply, error)
	why    func(context.Context, string) (Why, error)
	check  func(context.Context, bool) (Netcheck, error)
	Services
	Tuning
}

func (b *backend) Status() Status                                        { return b.status }
func (b *backend) Up(ctx context.Context, r UpRequest) error             { return b.up(ctx, r) }
func (b *backend) Down(ctx context.Context) error                        { return b.down(ctx) }
func (b *backend) Ping(ctx context.Context, p string) (PingReply, error) { return b.ping(ctx, p) }

func (b *backend) Why(ctx context.Context, p string) (Why, error) { return b.why(ctx, p) }
func (b *backend) DNSKey(context.Context) (DNSKey, error) {
	return DNSKey{Name: "nas.home.internal.", Secret: []byte{1, 2}}, nil
}

func (b *backend) Netcheck(ctx context.Context, l bool) (Netcheck, error) { return b.check(ctx, l) }

// serve runs a server for b until stop is called or the test ends.
func serve(t *testing.T, b Backend) (c *Client, stop func()) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "meshd.sock")
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	s := &Server{Backend: b, Version: "1.2.3", Log: slog.New(slog.DiscardHandler)}
	go func() {
		defer close(done)
		if err := s.Run(ctx, ln); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return NewClient(path), stop
}

func TestAnswers(t *testing.T) {
	want := Status{
		Version: "1.2.3", Mesh: "meshd", State: Running, Health: []string{"all is well"},
		Self:    Self{Name: "nas", Addresses: []netip.Addr{netip.MustParseAddr("100.96.0.7")}},
		Hub:     Hub{URL: "https://203.0.113.1", Connected: true, Since: time.Unix(1e9, 0).UTC()},
		Failure: &Error{Message: "m", Hint: "h"},
	}
	var asked UpRequest
	c, _ := serve(t, &backend{
		status: want,
		up:     func(_ context.Context, r UpRequest) error { asked = r; return nil },
		ping: func(_ context.Context, p string) (PingReply, error) {
			return PingReply{Peer: p, Path: "direct", Via: "203.0.113.9:41641", RTT: 12.5}, nil
		},
		why:   func(_ context.Context, p string) (Why, error) { return Why{Peer: p, Verdict: "well"}, nil },
		check: func(_ context.Context, lifetime bool) (Netcheck, error) { return Netcheck{UDP: lifetime}, nil },
	})
	ctx := t.Context()

	got, err := c.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(got, want, cmp.AllowUnexported(Error{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
	if v, err := c.Version(ctx); err != nil || v != (Version{"1.2.3", os.Getpid()}) {
		t.Errorf("Version: %v, %v", v, err)
	}
	if err := c.Up(ctx, UpRequest{Join: "meshd1:x", Hostname: "nas"}); err != nil {
		t.Error(err)
	}
	if want := (UpRequest{Join: "meshd1:x", Hostname: "nas"}); asked != want {
		t.Errorf("got %v, want %v", asked, want)
	}
	if w, err := c.Why(ctx, "nas & co"); err != nil || w.Peer != "nas & co" || w.Verdict != "well" {
		t.Errorf("Why: %v, %v", w, err)
	}
	for _, lifetime := range []bool{true, false} {
		if n, err := c.Netcheck(ctx, lifetime); err != nil || n.UDP != lifetime {
			t.Errorf("Netcheck: %v, %v", n, err)
		}
	}
	if k, err := c.DNSKey(ctx); err != nil || k.Name != "nas.home.internal." || len(k.Secret) != 2 {
		t.Errorf("DNSKey: %v, %v", k, err)
	}
	if p, err := c.Ping(ctx, "nas & co"); err != nil || p.Peer != "nas & co" || p.RTT != 12.5 {
		t.Errorf("Ping: %v, %v", p, err)
	}
}

func TestErrorsKeepTheirHint(t *testing.T) {
	c, _ := serve(t, &backend{
		up:   func(context.Context, UpRequest) error { return WithHint(errors.New("secret used"), "make another") },
		ping: func(context.Context, string) (PingReply, error) { return PingReply{}, errors.New("plain") },
	})
	err := c.Up(t.Context(), UpRequest{})
	if err == nil || err.Error() != "secret used" || HintOf(err) != "make another" {
		t.Errorf("got %v (%s)", err, HintOf(err))
	}
	if _, err := c.Ping(t.Context(), "x"); err == nil || err.Error() != "plain" || HintOf(err) != "" {
		t.Errorf("got %v (%s)", err, HintOf(err))
	}
	if err := c.do(t.Context(), http.MethodGet, "/future", nil, nil); err == nil || HintOf(err) == "" {
		t.Errorf("got %v, want an error with a hint", err)
	}
	if err := c.do(t.Context(), http.MethodPost, "/up", map[string]int{"speed": 9}, nil); err == nil ||
		!strings.Contains(err.Error(), "speed") {
		t.Errorf("got %v, want an error that names the field", err)
	}
}

func TestDownWaitsForTheEnd(t *testing.T) {
	ended := make(chan struct{})
	b := &backend{}
	c, stop := serve(t, b)
	b.down = func(context.Context) error {
		go func() { stop(); close(ended) }()
		return nil
	}
	if err := c.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Version(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v, want %v", err, ErrNotRunning)
	}
	<-ended
	if _, err := os.Stat(c.socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestNobodyThere(t *testing.T) {
	_, err := NewClient(filepath.Join(t.TempDir(), "none.sock")).Status(t.Context())
	if !errors.Is(err, ErrNotRunning) || HintOf(err) == "" {
		t.Errorf("got %v (%s)", err, HintOf(err))
	}
}

func TestListen(t *testing.T) {
	t.Run("mode", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a.sock")
		ln, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o660 {
			t.Errorf("got %v, %v", info.Mode(), err)
		}
	})
	t.Run("left behind by a crash", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a.sock")
		dead, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		dead.(*net.UnixListener).SetUnlinkOnClose(false)
		dead.Close()
		ln, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
	})
	t.Run("alive", func(t *testing.T) {
		c, _ := serve(t, &backend{})
		_, err := Listen(c.socket)
		if err == nil || !strings.Contains(err.Error(), "another meshd daemon (pid ") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a.sock")
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(path); err == nil {
			t.Error("took it over")
		}
		if b, _ := os.ReadFile(path); string(b) != "precious" {
			t.Errorf("the file now holds %q", b)
		}
	})
}

// hangsUp is a socket that takes n questions and answers none, then is dead.
func hangsUp(t *testing.T, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dying.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range n {
			if conn, err := ln.Accept(); err == nil {
				conn.Close()
			}
		}
		ln.Close()
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return path
}

func TestDaemonOnItsWayOut(t *testing.T) {
	t.Run("is no coordinator", func(t *testing.T) {
		_, err := NewClient(hangsUp(t, 1)).Status(t.Context())
		if !errors.Is(err, ErrHungUp) || HintOf(err) == "" || !strings.Contains(err.Error(), "dying.sock\" hung up") {
			t.Errorf("got %v (%s)", err, HintOf(err))
		}
	})
	t.Run("is waited for", func(t *testing.T) {
		if _, err := NewClient(hangsUp(t, 3)).Settled(t.Context()); !errors.Is(err, ErrNotRunning) {
			t.Errorf("got %v, want %v", err, ErrNotRunning)
		}
	})
	t.Run("is down", func(t *testing.T) {
		if err := NewClient(hangsUp(t, 2)).Down(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("gives way to another", func(t *testing.T) {
		ln, err := Listen(hangsUp(t, 3))
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
	})
	t.Run("takes too long", func(t *testing.T) {
		began := time.Now()
		_, err := NewClient(hangsUp(t, 1e6)).Settled(t.Context())
		if took := time.Since(began); !errors.Is(err, ErrHungUp) || took < settleTimeout || took > 2*settleTimeout {
			t.Errorf("got %v after %v", err, took)
		}
	})
}
