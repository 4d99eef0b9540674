package netcfg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Files of the host's that say how names are resolved.
const (
	hostsPath      = "/etc/hosts"
	resolvConfPath = "/etc/resolv.conf"
	nsswitchPath   = "/etc/nsswitch.conf"
)

const (
	// setTimeout bounds all that others are asked in one Set or Clear.
	setTimeout = 10 * time.Second
	// upstreamAge is how old an answer to "which servers has the host" may be.
	upstreamAge = 5 * time.Second
	dnsPort     = 53
)

// resolver is the resolver of the host that this process runs on.
type resolver struct {
	ResolverConfig
	turn chan struct{} // one token: whoever has it changes the host

	mu       sync.Mutex // guards following
	own      []netip.Prefix
	servers  []netip.Addr
	way      Way
	upstream []netip.AddrPort
	looked   time.Time // at upstream
}

// NewResolver returns the host's resolver, and touches nothing yet.
func NewResolver(c ResolverConfig) Resolver {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &resolver{ResolverConfig: c, turn: make(chan struct{}, 1)}
}

// begin waits for its turn and bounds what is done then.
func (r *resolver) begin(ctx context.Context) (context.Context, func(), error) {
	ctx, cancel := context.WithTimeout(ctx, setTimeout)
	select {
	case r.turn <- struct{}{}:
		return ctx, func() { <-r.turn; cancel() }, nil
	case <-ctx.Done():
		cancel()
		return nil, nil, ctx.Err()
	}
}

func (r *resolver) Set(ctx context.Context, n Names) (Resolution, error) {
	ctx, end, err := r.begin(ctx)
	if err != nil {
		return Resolution{}, err
	}
	defer end()
	way, reasons := choose(r.look(ctx, n))
	old, changed, err := readRecord(r.Record)
	if err != nil {
		r.Log.Warn("unknown what was changed on this host", "err", err)
	}
	if changed && (old.Way != way || old.Interface != n.Interface) {
		if err := r.undo(ctx, old); err != nil {
			return Resolution{Way: old.Way, Reasons: reasons}, err
		}
	}
	r.mu.Lock()
	r.own, r.servers, r.way, r.looked = n.Prefixes, n.Servers, way, time.Time{}
	r.mu.Unlock()
	done := Resolution{Way: way, Reasons: reasons}
	done.Changed, err = r.apply(ctx, way, n)
	return done, err
}

// apply goes one way, and says what it changed. The record is written first, so
// that whatever happens next can be put back.
func (r *resolver) apply(ctx context.Context, way Way, n Names) (changed []string, err error) {
	if way == ByNothing {
		return nil, nil
	}
	rec := record{Way: way, Interface: n.Interface}
	switch way {
	case ByNetworkManager:
		rec.Files, rec.Block = []string{nmFile(r.Mesh)}, hostsPath
	case ByResolvconf:
		rec.Entry = resolvconfEntry(n.Interface)
	case ByHosts:
		rec.Block = hostsPath
	}
	if err := rec.write(r.Record); err != nil {
		return nil, err
	}
	switch way {
	case ByResolved:
		err = setResolved(ctx, n)
		changed = append(changed, fmt.Sprintf("systemd-resolved asks %s about %s, by interface %s", addrWords(n.Servers), n.Zone, n.Interface))
	case ByNetworkManager:
		err = setNetworkManager(ctx, rec.Files[0], n)
		changed = append(changed, fmt.Sprintf("NetworkManager's dnsmasq asks %s about %s: %s", addrWords(n.Servers), n.Zone, rec.Files[0]))
	case ByResolvconf:
		err = setResolvconf(ctx, rec.Entry, n)
		changed = append(changed, fmt.Sprintf("resolvconf names %s before the servers of this host, as %s", n.Servers[0], rec.Entry))
	}
	if err != nil || rec.Block == "" {
		return changed, err
	}
	if err := r.setBlock(ctx, rec.Block, n); err != nil {
		return changed, err
	}
	return append(changed, fmt.Sprintf("%s has %d names between lines with \"meshd %s\"", rec.Block, len(n.Hosts), r.Mesh)), nil
}

func (r *resolver) setBlock(ctx context.Context, path string, n Names) error {
	err := editFile(ctx, path, func(old []byte) []byte {
		rest, _ := withoutBlock(old, r.Mesh)
		return withBlock(old, r.Mesh, hostLines(rest, r.Mesh, n))
	})
	if err != nil {
		return fmt.Errorf("write names to %s: %w", path, err)
	}
	return nil
}

func (r *resolver) Clear(ctx context.Context) error {
	ctx, end, err := r.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	rec, changed, err := readRecord(r.Record)
	if err != nil { // damaged: what outlasts a reboot is the block
		r.Log.Warn("unknown what was changed on this host", "err", err)
		rec, changed = record{Way: ByHosts, Block: hostsPath}, true
	}
	if !changed {
		return nil
	}
	return r.undo(ctx, rec)
}

// undo puts back what a record says was changed, then the record.
func (r *resolver) undo(ctx context.Context, rec record) error {
	var errs []error
	switch rec.Way {
	case ByResolved:
		errs = append(errs, clearResolved(ctx, rec.Interface))
	case ByNetworkManager:
		errs = append(errs, clearNetworkManager(ctx, rec.Files))
	case ByResolvconf:
		errs = append(errs, clearResolvconf(ctx, rec.Entry))
	}
	if rec.Block != "" {
		err := editFile(ctx, rec.Block, func(old []byte) []byte { return withBlock(old, r.Mesh, nil) })
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("take names out of %s: %w", rec.Block, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return removeRecord(r.Record)
}

// look finds out what the host has.
func (r *resolver) look(ctx context.Context, n Names) found {
	f := found{server: len(n.Servers) > 0, noHosts: notWritable(hostsPath)}
	text, _ := os.ReadFile(resolvConfPath) // without one there are no servers
	f.conf = parseResolvConf(string(text))
	f.confTarget, _ = filepath.EvalSymlinks(resolvConfPath)
	sources, _ := os.ReadFile(nsswitchPath) // without one it is up to the C library
	f.sources = parseSources(string(sources))
	f.resolvconf = findResolvconf(ctx)
	f.resolvconfTaken = otherEntry(f.resolvconf, resolvconfEntry(n.Interface))
	lookAtBus(ctx, &f)
	return f
}

func (r *resolver) Upstream() []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.looked) > upstreamAge {
		r.upstream, r.looked = r.findUpstream(), now
	}
	return slices.Clone(r.upstream)
}

// findUpstream leaves out ours, and what else is within the mesh: a question
// would go round in circles.
func (r *resolver) findUpstream() []netip.AddrPort {
	var servers []netip.Addr
	if r.way == ByResolvconf {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		servers = otherServers(ctx)
	}
	if len(servers) == 0 {
		text, _ := os.ReadFile(resolvConfPath) // none: no servers
		servers = parseResolvConf(string(text)).servers
	}
	var upstream []netip.AddrPort
	for _, a := range servers {
		ours := func(p netip.Prefix) bool { return p.Contains(a) }
		ap := netip.AddrPortFrom(a, dnsPort)
		if !slices.Contains(r.servers, a) && !slices.ContainsFunc(r.own, ours) && !slices.Contains(upstream, ap) {
			upstream = append(upstream, ap)
		}
	}
	return upstream
}

func addrWords(addrs []netip.Addr) string {
	var words []string
	for _, a := range addrs {
		words = append(words, a.String())
	}
	return cmp.Or(strings.Join(words, " and "), "nobody")
}
