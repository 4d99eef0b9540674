package netcfg

import (
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Lookup is how programs of this host look a name up.
type Lookup struct {
	Sources []string     // of nsswitch.conf, in order: files, resolve, dns …; none: files, then dns
	Servers []netip.Addr // of resolv.conf
	Search  []string     // domains that complete short names
	Hosts   string       // the hosts file
}

// ReadLookup reads the host's files. What can't be read says nothing.
func ReadLookup() Lookup {
	text := func(path string) string {
		b, _ := os.ReadFile(path)
		return string(b)
	}
	conf := parseResolvConf(text("/etc/resolv.conf"))
	return Lookup{parseSources(text("/etc/nsswitch.conf")), conf.servers, conf.search, text("/etc/hosts")}
}

// ReadsHosts reports whether the hosts file counts.
func (l Lookup) ReadsHosts() bool { return len(l.Sources) == 0 || slices.Contains(l.Sources, "files") }

// Asked are the servers in the order in which they are asked: systemd-resolved's
// own first if the name service switch has it.
func (l Lookup) Asked() []netip.Addr {
	if slices.Contains(l.Sources, "resolve") && !slices.Contains(l.Servers, stubs[0]) {
		return append([]netip.Addr{stubs[0]}, l.Servers...)
	}
	return l.Servers
}

// InHosts returns the addresses of a name in the hosts file.
func (l Lookup) InHosts(name string) (found []netip.Addr) {
	for line := range strings.Lines(l.Hosts) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) < 2 || !slices.ContainsFunc(f[1:], func(n string) bool { return strings.EqualFold(n, strings.TrimSuffix(name, ".")) }) {
			continue
		}
		if a, err := netip.ParseAddr(f[0]); err == nil && !slices.Contains(found, a) {
			found = append(found, a)
		}
	}
	return found
}

// Full are the names that are asked for in turn when a program asks for name
// (resolv.conf(5), with one dot enough).
func (l Lookup) Full(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	var names []string
	for _, domain := range l.Search {
		names = append(names, name+"."+domain)
	}
	if strings.Contains(name, ".") {
		return append([]string{name}, names...)
	}
	return names
}
