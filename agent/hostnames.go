package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"meshd/agent/localapi"
	"meshd/agent/netcfg"
	"meshd/agent/tunnel"
	"meshd/dnssd"
)

const (
	// hostCheck is how often the host's resolver is looked at: others write the
	// same files.
	hostCheck = time.Minute
	// resolverFile of the state folder says what was changed on the host.
	resolverFile = "resolver.json"
)

// hostNames makes the names of the mesh known to the host's programs.
type hostNames struct {
	resolver netcfg.Resolver
	iface    string
	recheck  chan struct{} // capacity 1

	// Of the names' goroutine.
	due   bool // set again, whatever was set
	told  netcfg.Names
	state netcfg.Resolution
	err   error
}

func newHostNames(r netcfg.Resolver, iface string) *hostNames {
	return &hostNames{resolver: r, iface: iface, recheck: make(chan struct{}, 1), due: true}
}

// set makes the members of m known, and where the zone is answered.
func (h *hostNames) set(ctx context.Context, m *Netmap, servers []netip.Addr) error {
	n := namesOf(m, h.iface, servers)
	if !h.due && h.err == nil && reflect.DeepEqual(n, h.told) {
		return nil
	}
	h.due, h.told = false, n
	h.state, h.err = h.resolver.Set(ctx, n)
	return h.err
}

// clear also works when ctx has ended.
func (h *hostNames) clear(ctx context.Context, log *slog.Logger) {
	if err := h.resolver.Clear(context.WithoutCancel(ctx)); err != nil {
		log.Warn("host's resolver not put back", "err", err)
	}
}

// namesOf is what the host is to know of m.
func namesOf(m *Netmap, iface string, servers []netip.Addr) netcfg.Names {
	n := netcfg.Names{
		Interface: iface, Zone: m.Mesh.Zone, Reverse: dnssd.ReverseZones(m.Mesh.Prefixes), Servers: servers, Prefixes: m.Mesh.Prefixes,
		Hosts: make([]netcfg.HostName, 0, len(m.Peers)+1),
	}
	n.Hosts = append(n.Hosts, netcfg.HostName{Name: m.Self.Name, Addresses: m.Self.Addresses})
	for _, p := range m.Sorted() {
		n.Hosts = append(n.Hosts, netcfg.HostName{Name: p.Name, Addresses: p.Addresses})
	}
	return n
}

// showResolution adds to s how the host's programs find names.
func showResolution(s *localapi.Status, r netcfg.Resolution) {
	if r.Way != "" && r.Way != netcfg.ByNothing {
		s.DNS.Mode = string(r.Way)
	}
	s.DNS.Reasons, s.DNS.Changed = r.Reasons, r.Changed
}

// fromHere tells the host's own questions, by one of its overlay addresses or
// loopback. Only those are handed on to the host's servers.
func fromHere(own []netip.Addr) func(netip.Addr) bool {
	return func(src netip.Addr) bool { return src.IsLoopback() || slices.Contains(own, src) }
}

func newResolver(mesh, stateDir string, log *slog.Logger) netcfg.Resolver {
	return netcfg.NewResolver(netcfg.ResolverConfig{Mesh: mesh, Record: filepath.Join(stateDir, resolverFile), Log: log})
}

// tidyHost puts back what a daemon that crashed left changed. The mesh may not
// come up this time, or not want names any more.
func (l *loop) tidyHost(ctx context.Context) {
	if err := l.cfg.Resolver.Clear(ctx); err != nil {
		l.log.Warn("host's resolver not put back", "err", err)
	}
}

// awaitLock gives a daemon that was just killed a moment to be gone.
func awaitLock(ctx context.Context, f folder) (*lock, error) {
	enough := time.NewTimer(2 * time.Second)
	defer enough.Stop()
	for {
		lock, err := f.lock()
		if err == nil {
			return lock, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-enough.C:
			return nil, err
		case <-ctx.Done():
			return nil, err
		}
	}
}

// CleanUp puts back what a daemon that crashed left changed on this host. Where
// one runs it fails, and does nothing.
func CleanUp(ctx context.Context, mesh, stateDir string, log *slog.Logger) error {
	if stateDir == "" {
		stateDir = StateDir(mesh)
	}
	f := folder{stateDir}
	if _, err := os.Stat(f.file(wireguardFile)); err != nil {
		return nil // no daemon was ever here, or we can't know
	}
	lock, err := awaitLock(ctx, f)
	if err != nil {
		return err
	}
	defer lock.release()
	key, err := f.key()
	if err == nil {
		err = tunnel.CleanUp(key.bytes, log)
	}
	return errors.Join(err, newResolver(mesh, stateDir, log).Clear(ctx))
}
