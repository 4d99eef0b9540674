package agent

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// maxRelayAddrs bounds what one hub can make an agent send to.
const maxRelayAddrs = 16

// lookupRetry is when names that could not be resolved are tried again.
const lookupRetry = 5 * time.Second

// resolver turns the hub's relay addresses into numbers.
type resolver struct {
	lookup func(context.Context, string) ([]netip.Addr, error)
	log    *slog.Logger
}

// resolve finds the addresses of "host:port"s, an empty host standing for hub.
// IPv4 comes first, then the order of the ports. Names that can't be resolved
// are left out; what is found none the less is returned with the error.
func (r resolver) resolve(ctx context.Context, hub string, udp []string) ([]netip.AddrPort, error) {
	var found []netip.AddrPort
	var failed error
	known := make(map[string][]netip.Addr)
	for _, text := range udp {
		host, port, err := splitHostPort(text)
		if err != nil {
			failed = cmp.Or(failed, err)
			continue
		}
		host = cmp.Or(host, hub)
		if _, ok := known[host]; !ok {
			addrs, err := r.addrs(ctx, host)
			failed = cmp.Or(failed, err)
			known[host] = addrs
		}
		for _, a := range known[host] {
			found = append(found, netip.AddrPortFrom(a, port))
		}
	}
	slices.SortStableFunc(found, func(a, b netip.AddrPort) int { return a.Addr().BitLen() - b.Addr().BitLen() })
	return found[:min(len(found), maxRelayAddrs)], failed
}

func (r resolver) addrs(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	addrs, err := r.lookup(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("resolve %q: %v", host, err)
	}
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	return addrs, nil
}

func splitHostPort(text string) (string, uint16, error) {
	host, digits, err := net.SplitHostPort(text)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: %v", text, err)
	}
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || port == 0 {
		return "", 0, fmt.Errorf("address %q: want a port from 1 to 65535", text)
	}
	return host, uint16(port), nil
}

// run resolves until every name has an answer, and passes on each new result.
func (r resolver) run(ctx context.Context, hub string, udp []string, out chan<- []netip.AddrPort) error {
	for level := slog.LevelWarn; ; level = slog.LevelDebug {
		found, err := r.resolve(ctx, hub, udp)
		if len(found) > 0 {
			select {
			case out <- found:
			case <-ctx.Done():
				return nil
			}
		}
		if err == nil || ctx.Err() != nil {
			return nil
		}
		r.log.Log(ctx, level, "relay not resolved", "err", err)
		select {
		case <-time.After(lookupRetry):
		case <-ctx.Done():
			return nil
		}
	}
}

// resolve starts to look the hub's relay up, off the loop: DNS may hang. The
// addresses known so far serve meanwhile.
func (l *loop) resolve(ctx context.Context) {
	l.lookup.stop()
	if l.netmap == nil || l.control == nil || len(l.netmap.Mesh.Relays) == 0 {
		return
	}
	r := resolver{lookup: l.lookupHub, log: l.log}
	hub, udp := l.control.client.Host(), l.netmap.Mesh.Relays[0].UDP
	l.lookup = start(ctx, func(ctx context.Context) error { return r.run(ctx, hub, udp, l.resolved) })
}

// relaysKnown passes on what a lookup found.
func (l *loop) relaysKnown(addrs []netip.AddrPort) {
	if l.netmap == nil || slices.Equal(addrs, l.relays) {
		return
	}
	l.relays = addrs
	l.mapChanged(false)
	if l.plane != nil {
		l.owe(l.plane.apply(l.netmap, l.relays, partRelay))
	}
}
