package coordinator

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"connectrpc.com/connect"

	"meshd/coordinator/api"
)

// publicHosts returns what join strings name: the hosts that the owner told,
// or else this machine's own addresses.
func publicHosts(told []string, listen net.Addr) (hosts []string, port uint16, err error) {
	port = listen.(*net.TCPAddr).AddrPort().Port()
	named := uint16(0)
	for _, s := range told {
		host, p, err := splitHost(s)
		if err != nil {
			return nil, 0, err
		}
		if p != 0 && named != 0 && p != named {
			return nil, 0, invalid("--public names ports %d and %d; a join string carries one", named, p)
		}
		if p != 0 {
			named = p
		}
		hosts = append(hosts, host)
	}
	if named != 0 {
		port = named
	}
	if len(hosts) == 0 {
		hosts = ownHosts(listen.(*net.TCPAddr).AddrPort().Addr().Unmap())
	}
	return hosts, port, nil
}

// splitHost reads "host", "host:port", "::1" or "[::1]:port".
func splitHost(s string) (host string, port uint16, err error) {
	host = s
	if _, bare := netip.ParseAddr(s); bare != nil && strings.Contains(s, ":") && !strings.HasSuffix(s, "]") {
		var digits string
		var n uint64
		host, digits, err = net.SplitHostPort(s)
		if err == nil {
			n, err = strconv.ParseUint(digits, 10, 16)
		}
		if port = uint16(n); port == 0 {
			err = cmp.Or(err, errors.New("no port"))
		}
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	// What counts is whether agents can read it.
	if _, unreadable := api.ParseJoin(api.JoinString{Hosts: []string{host}, Port: max(port, 1)}.String()); err != nil || unreadable != nil {
		return "", 0, Errorf(connect.CodeInvalidArgument, "--public 203.0.113.9, --public hub.example:8443 or --public [2001:db8::1]:443",
			"public host %q is no HOST or HOST:PORT", s)
	}
	return host, port, nil
}

// ownHosts guesses at what agents can reach: public addresses if there are any,
// else private ones, which serve a mesh inside one network.
func ownHosts(listen netip.Addr) []string {
	if !listen.IsUnspecified() {
		return []string{listen.String()}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var public, private []string
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || !prefix.Addr().IsGlobalUnicast() {
			continue
		}
		if isPublic(prefix.Addr()) {
			public = append(public, prefix.Addr().String())
		} else {
			private = append(private, prefix.Addr().String())
		}
	}
	if len(public) > 0 {
		return public
	}
	if a, ok := outbound(); ok {
		return []string{a.String()}
	}
	return private[:min(len(private), 1)]
}

// outbound returns the address that the default route leaves from. Connecting a
// UDP socket sends nothing.
func outbound() (netip.Addr, bool) {
	conn, err := net.Dial("udp4", "192.0.2.1:9") // RFC 5737: nobody's
	if err != nil {
		return netip.Addr{}, false
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), true
}

var sharedSpace = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598

// isPublic reports whether an address can be reached from elsewhere.
func isPublic(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !sharedSpace.Contains(a)
}
