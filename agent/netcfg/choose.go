package netcfg

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// resolvconfKind tells apart the programs of that name.
type resolvconfKind string

const (
	noResolvconf     resolvconfKind = ""
	openresolv       resolvconfKind = "openresolv"
	debianResolvconf resolvconfKind = "Debian's resolvconf"
	resolvectl       resolvconfKind = "systemd-resolved's resolvconf"
)

// found is what there is on a host to resolve names with.
type found struct {
	server     bool     // our own answers
	noBus      string   // why the system bus can't be asked; empty: it can
	sources    []string // of the line "hosts" of nsswitch.conf, without actions
	conf       resolvConf
	confTarget string // where /etc/resolv.conf really is

	resolved        bool   // systemd-resolved runs
	networkManager  bool   // so does NetworkManager
	nmMode          string // what it has do the asking: default, dnsmasq, systemd-resolved, unbound, none
	resolvconf      resolvconfKind
	resolvconfTaken string // another mesh whose server is the host's first; empty: none
	noHosts         string // why the hosts file can't be written; empty: it can
}

// choose finds the best way that a host has, and says why not a better one.
func choose(f found) (Way, []string) {
	var reasons []string
	for _, c := range []struct {
		way Way
		not func() string
	}{
		{ByResolved, f.notResolved}, {ByNetworkManager, f.notNetworkManager}, {ByResolvconf, f.notResolvconf}, {ByHosts, f.notHosts},
	} {
		reason := c.not()
		if reason == "" {
			return c.way, reasons
		}
		reasons = append(reasons, string(c.way)+": "+reason)
	}
	return ByNothing, reasons
}

const noServer = "nobody on this machine answers for the zone"

// stubs are systemd-resolved's own addresses.
var stubs = []netip.Addr{netip.MustParseAddr("127.0.0.53"), netip.MustParseAddr("127.0.0.54")}

func (f found) notResolved() string {
	switch {
	case f.noBus != "":
		return f.noBus
	case !f.resolved:
		return "systemd-resolved does not run"
	case !f.asksResolved():
		return fmt.Sprintf("systemd-resolved runs, but programs do not ask it: /etc/resolv.conf names %s, and nsswitch.conf has no \"resolve\"", f.conf.words())
	case !f.server:
		return noServer
	}
	return ""
}

// asksResolved reports whether programs ask systemd-resolved: as the name service
// switch tells them, or by its stub.
func (f found) asksResolved() bool {
	return slices.Contains(f.sources, "resolve") ||
		slices.ContainsFunc(f.conf.servers, func(a netip.Addr) bool { return slices.Contains(stubs, a) })
}

func (f found) notNetworkManager() string {
	switch {
	case f.noBus != "":
		return f.noBus
	case !f.networkManager:
		return "NetworkManager does not run"
	case f.conf.author != "NetworkManager" && !strings.HasPrefix(f.confTarget, "/run/NetworkManager/"):
		return "NetworkManager runs, but does not write /etc/resolv.conf"
	case f.nmMode != "dnsmasq":
		return fmt.Sprintf("NetworkManager cannot ask one server for one zone: its dns mode is %q, not \"dnsmasq\"", f.nmMode)
	case !f.server:
		return noServer
	}
	return ""
}

func (f found) notResolvconf() string {
	writes := f.conf.author == "resolvconf" ||
		strings.HasPrefix(f.confTarget, "/run/resolvconf/") || strings.HasPrefix(f.confTarget, "/etc/resolvconf/")
	switch {
	case f.resolvconf == noResolvconf:
		return "there is no resolvconf"
	case f.resolvconf == resolvectl:
		return "resolvconf is only another name of systemd-resolved's resolvectl"
	case !writes:
		return fmt.Sprintf("there is %s, but it does not write /etc/resolv.conf", f.resolvconf)
	case f.resolvconfTaken != "":
		return fmt.Sprintf("mesh %s of this machine has it", f.resolvconfTaken)
	case !f.server:
		return noServer
	}
	return ""
}

func (f found) notHosts() string {
	switch {
	case f.noHosts != "":
		return f.noHosts
	case len(f.sources) > 0 && !slices.Contains(f.sources, "files"):
		return "programs do not read the hosts file: nsswitch.conf has no \"files\""
	}
	return ""
}
