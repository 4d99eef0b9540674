package netcfg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// Names on the system bus.
const (
	resolvedName = "org.freedesktop.resolve1"
	resolvedPath = "/org/freedesktop/resolve1"
	resolvedAPI  = resolvedName + ".Manager."
	nmName       = "org.freedesktop.NetworkManager"
	nmPath       = "/org/freedesktop/NetworkManager"
	nmDNSPath    = nmPath + "/DnsManager"
	nmDNSAPI     = nmName + ".DnsManager."
	// nmRestartDNS has NetworkManager start its dnsmasq anew (NM's
	// NM_MANAGER_RELOAD_FLAG_DNS_FULL): it reads its folder only then.
	nmRestartDNS = uint32(4)
)

// meteredTimeout is for a question whose asker has other things to do.
const meteredTimeout = time.Second

// withBus calls f with a connection to the system bus, which ends with ctx.
func withBus(ctx context.Context, f func(*dbus.Conn) error) error {
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("connect to the system bus: %w", err)
	}
	defer conn.Close() // nothing is under way
	return f(conn)
}

// lookAtBus fills in what answers on the system bus.
func lookAtBus(ctx context.Context, f *found) {
	err := withBus(ctx, func(conn *dbus.Conn) error {
		owned := func(name string) (yes bool, err error) {
			err = conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.NameHasOwner", 0, name).Store(&yes)
			return yes, err
		}
		var err error
		if f.resolved, err = owned(resolvedName); err != nil {
			return err
		}
		if f.networkManager, err = owned(nmName); err != nil || !f.networkManager {
			return err
		}
		mode, err := conn.Object(nmName, nmDNSPath).GetProperty(nmDNSAPI + "Mode")
		if err == nil {
			f.nmMode, _ = mode.Value().(string)
		}
		return nil
	})
	if err != nil {
		f.noBus = "the system bus cannot be asked: " + busWords(err)
	}
}

// busWords are the cause without the address of the socket.
func busWords(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		err = e.Err
	}
	return err.Error()
}

// askNetworkManager returns what NetworkManager says of being metered; 0, which is
// unknown to it as well, if it does not run.
func askNetworkManager() (said uint32) {
	ctx, cancel := context.WithTimeout(context.Background(), meteredTimeout)
	defer cancel()
	withBus(ctx, func(conn *dbus.Conn) error {
		var v dbus.Variant
		err := conn.Object(nmName, nmPath).CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", dbus.FlagNoAutoStart, nmName, "Metered").Store(&v)
		said, _ = v.Value().(uint32)
		return err
	})
	return said
}

// linkServer and linkDomain are what systemd-resolved takes of a link.
type linkServer struct {
	Family  int32
	Address []byte
}

type linkDomain struct {
	Domain string
	// RoutingOnly domains decide who is asked, and complete no short names.
	RoutingOnly bool
}

// setResolved gives the mesh's link its server and zones. The link asks nothing
// else, and none of what would do harm there: LLMNR and mDNS need multicast, the
// zone has no signatures and the server no certificate.
func setResolved(ctx context.Context, n Names) error {
	ifi, err := net.InterfaceByName(n.Interface)
	if err != nil {
		return fmt.Errorf("configure systemd-resolved for %s: %w", n.Interface, err)
	}
	var servers []linkServer
	for _, a := range n.Servers {
		s := linkServer{Family: 2, Address: a.AsSlice()} // AF_INET
		if a.Is6() {
			s.Family = 10 // AF_INET6
		}
		servers = append(servers, s)
	}
	domains := []linkDomain{{n.Zone, false}}
	for _, zone := range n.Reverse {
		domains = append(domains, linkDomain{zone, true})
	}
	index := int32(ifi.Index)
	return withBus(ctx, func(conn *dbus.Conn) error {
		manager := conn.Object(resolvedName, resolvedPath)
		if knows(manager, index, n) {
			return nil
		}
		for _, c := range []struct {
			method string
			arg    any
			needed bool // others are newer than some of its versions
		}{
			{"SetLinkDNS", servers, true}, {"SetLinkDomains", domains, true}, {"SetLinkDefaultRoute", false, false},
			{"SetLinkLLMNR", "no", false}, {"SetLinkMulticastDNS", "no", false}, {"SetLinkDNSSEC", "no", false}, {"SetLinkDNSOverTLS", "no", false},
		} {
			if err := manager.CallWithContext(ctx, resolvedAPI+c.method, 0, index, c.arg).Err; err != nil && c.needed {
				return fmt.Errorf("configure systemd-resolved for %s: %s: %w", n.Interface, c.method, err)
			}
		}
		manager.CallWithContext(ctx, resolvedAPI+"FlushCaches", 0) // names that it found unknown a moment ago
		return nil
	})
}

// knows reports whether systemd-resolved has the servers and the zone already.
func knows(manager dbus.BusObject, index int32, n Names) bool {
	var servers []struct {
		Index, Family int32
		Address       []byte
	}
	var domains []struct {
		Index       int32
		Domain      string
		RoutingOnly bool
	}
	if manager.StoreProperty(resolvedAPI+"DNS", &servers) != nil || manager.StoreProperty(resolvedAPI+"Domains", &domains) != nil {
		return false
	}
	left := map[string]bool{}
	for _, a := range n.Servers {
		left[string(a.AsSlice())] = true
	}
	for _, s := range servers {
		if s.Index == index && !left[string(s.Address)] {
			return false
		} else if s.Index == index {
			delete(left, string(s.Address))
		}
	}
	for _, zone := range append([]string{n.Zone}, n.Reverse...) {
		left[zone] = true
	}
	for _, d := range domains {
		if d.Index == index {
			delete(left, d.Domain)
		}
	}
	return len(left) == 0
}

// clearResolved forgets a link. With the interface gone, or systemd-resolved,
// there is nothing to forget.
func clearResolved(ctx context.Context, iface string) error {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return nil
	}
	return unlessGone(withBus(ctx, func(conn *dbus.Conn) error {
		return conn.Object(resolvedName, resolvedPath).CallWithContext(ctx, resolvedAPI+"RevertLink", 0, int32(ifi.Index)).Err
	}))
}

// unlessGone passes over that nobody is there any more: what he knew of us is
// gone too.
func unlessGone(err error) error {
	gone := []string{
		"org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner",
		resolvedName + ".NoSuchLink", "org.freedesktop.DBus.Error.Spawn.ChildExited", "org.freedesktop.systemd1.NoSuchUnit",
	}
	if e, ok := errors.AsType[dbus.Error](err); ok {
		for _, name := range gone {
			if e.Name == name {
				return nil
			}
		}
	}
	if errors.Is(err, os.ErrNotExist) { // the bus
		return nil
	}
	return err
}

// nmFile is what dnsmasq reads on behalf of NetworkManager.
func nmFile(mesh string) string {
	return filepath.Join("/etc/NetworkManager/dnsmasq.d", "meshd-"+mesh+".conf")
}

// setNetworkManager has its dnsmasq ask our server about the zones.
func setNetworkManager(ctx context.Context, path string, n Names) error {
	var b strings.Builder
	b.WriteString("# Written by meshd, which also takes it away.\n")
	for _, zone := range append([]string{n.Zone}, n.Reverse...) {
		for _, a := range n.Servers {
			fmt.Fprintf(&b, "server=/%s/%s\n", zone, a)
		}
	}
	old, err := os.ReadFile(path)
	if err == nil && string(old) == b.String() {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("configure NetworkManager: %w", err)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("configure NetworkManager: %w", err)
	}
	if err := reloadNetworkManager(ctx); err != nil {
		return errors.Join(err, os.Remove(path)) // else the next time finds nothing to do
	}
	return nil
}

func clearNetworkManager(ctx context.Context, files []string) error {
	var errs []error
	for _, path := range files {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, unlessGone(reloadNetworkManager(ctx)))...)
}

func reloadNetworkManager(ctx context.Context) error {
	return withBus(ctx, func(conn *dbus.Conn) error {
		if err := conn.Object(nmName, nmPath).CallWithContext(ctx, nmName+".Reload", 0, nmRestartDNS).Err; err != nil {
			return fmt.Errorf("have NetworkManager restart its dnsmasq: %w", err)
		}
		return nil
	})
}
