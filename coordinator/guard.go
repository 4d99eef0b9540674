package coordinator

import (
	"context"
	"crypto/tls"
	"hash/maphash"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// Connections of strangers at a time: those whose TLS handshake is under way,
	// or that have not shown to be a member's. A site of hundreds of members
	// behind one address still gets in at once after a restart.
	strangersPerSource = 256
	strangersInAll     = 8192
)

// guard bounds how many connections strangers may hold. It stands beneath TLS.
type guard struct {
	net.Listener

	mu        sync.Mutex // guards following
	strangers map[netip.Addr]int
	all       int
}

func newGuard(ln net.Listener) *guard {
	return &guard{Listener: ln, strangers: map[netip.Addr]int{}}
}

// Accept implements [net.Listener]; what is too many is closed unheard.
func (g *guard) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		source := sourceAddr(conn.RemoteAddr())
		if g.enter(source) {
			return &guardedConn{Conn: conn, source: source, leave: sync.OnceFunc(func() { g.leave(source) })}, nil
		}
		conn.Close()
	}
}

func (g *guard) enter(source netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all >= strangersInAll || g.strangers[source] >= strangersPerSource {
		return false
	}
	g.all++
	g.strangers[source]++
	return true
}

func (g *guard) leave(source netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.strangers[source]--; g.strangers[source] == 0 {
		delete(g.strangers, source)
	}
}

// guardedConn counts as a stranger's until it is admitted or closed.
type guardedConn struct {
	net.Conn
	source netip.Addr
	leave  func()
}

func (c *guardedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

type guardedKey struct{}

// withGuarded is an http.Server's ConnContext.
func withGuarded(ctx context.Context, conn net.Conn) context.Context {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	return context.WithValue(ctx, guardedKey{}, conn)
}

// admit frees the stranger's place that this call's connection holds.
func admit(ctx context.Context) {
	if conn, ok := ctx.Value(guardedKey{}).(*guardedConn); ok {
		conn.leave()
	}
}

// sourceOf returns whom to count this call's connection for.
func sourceOf(ctx context.Context) netip.Addr {
	if conn, ok := ctx.Value(guardedKey{}).(*guardedConn); ok {
		return conn.source
	}
	return netip.Addr{}
}

// sourceAddr is the address, or for IPv6 the /64, which one host has for itself.
func sourceAddr(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	addr := tcp.AddrPort().Addr().Unmap()
	if addr.Is6() {
		prefix, _ := addr.WithZone("").Prefix(64) // cannot fail: 64 bits are there
		return prefix.Addr()
	}
	return addr
}

const (
	failuresAtOnce = 50
	failureEvery   = 2 * time.Second
)

// attempts bounds failed joins per source. Sources share 1024 budgets by hash,
// so that there is nothing to grow and nothing to tidy.
type attempts struct {
	seed    maphash.Seed
	budgets [1024]*rate.Limiter
}

func newAttempts() *attempts {
	a := &attempts{seed: maphash.MakeSeed()}
	for i := range a.budgets {
		a.budgets[i] = rate.NewLimiter(rate.Every(failureEvery), failuresAtOnce)
	}
	return a
}

func (a *attempts) allowed(source netip.Addr) bool { return a.of(source).Tokens() >= 1 }

func (a *attempts) failed(source netip.Addr) { a.of(source).Allow() }

func (a *attempts) of(source netip.Addr) *rate.Limiter {
	return a.budgets[maphash.Comparable(a.seed, source)%uint64(len(a.budgets))]
}
