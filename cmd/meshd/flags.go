package main

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// tcpAddr is a flag: where to listen. Without a host it means all addresses.
type tcpAddr netip.AddrPort

func (t *tcpAddr) String() string { return addrWords(netip.AddrPort(*t)) }

// Set implements [pflag.Value].
func (t *tcpAddr) Set(s string) error {
	addr, err := parseAddr(s)
	if err == nil && !addr.Addr().IsValid() {
		addr = netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port()) // package net takes it for both families
	}
	*t = tcpAddr(addr)
	return err
}

// Type implements [pflag.Value].
func (t *tcpAddr) Type() string { return "address" }

// udpAddrs is a flag: where to receive datagrams, one socket for each address.
type udpAddrs []netip.AddrPort

func (u *udpAddrs) String() string {
	words := make([]string, len(*u))
	for i, a := range *u {
		words[i] = addrWords(a)
	}
	return strings.Join(words, ",")
}

// Set implements [pflag.Value].
func (u *udpAddrs) Set(s string) error {
	for part := range strings.SplitSeq(s, ",") {
		addr, err := parseAddr(part)
		if err != nil {
			return err
		}
		if addr.Addr().IsValid() {
			*u = append(*u, addr)
			continue
		}
		*u = append(*u, netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port()))
		if hasIPv6() {
			*u = append(*u, netip.AddrPortFrom(netip.IPv6Unspecified(), addr.Port()))
		}
	}
	return nil
}

// Type implements [pflag.Value].
func (u *udpAddrs) Type() string { return "addresses" }

// parseAddr reads ADDR:PORT, or :PORT, whose address stays invalid.
func parseAddr(s string) (addr netip.AddrPort, err error) {
	if digits, bare := strings.CutPrefix(s, ":"); bare {
		var n uint64
		n, err = strconv.ParseUint(digits, 10, 16)
		addr = netip.AddrPortFrom(netip.Addr{}, uint16(n))
	} else {
		addr, err = netip.ParseAddrPort(s)
	}
	if err != nil || addr.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("%q: want an address and a port, such as 203.0.113.1:443 or :443", s)
	}
	return addr, nil
}

func addrWords(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// hasIPv6 reports whether a socket of that family can be had here at all.
func hasIPv6() bool {
	conn, err := net.ListenPacket("udp6", "[::]:0")
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// prefix is a flag of one network.
type prefix netip.Prefix

func (p *prefix) String() string {
	if !netip.Prefix(*p).IsValid() {
		return ""
	}
	return netip.Prefix(*p).String()
}

// Set implements [pflag.Value].
func (p *prefix) Set(s string) error {
	parsed, err := netip.ParsePrefix(s)
	if err != nil {
		return fmt.Errorf("%q: want a prefix, such as 10.20.0.0/16", s)
	}
	*p = prefix(parsed)
	return nil
}

// Type implements [pflag.Value].
func (p *prefix) Type() string { return "prefix" }

// bitRate is a flag: bits a second, with k, M or G. The zero value is no limit.
type bitRate float64

func (r *bitRate) String() string {
	if *r == 0 {
		return ""
	}
	return strconv.FormatFloat(float64(*r), 'f', -1, 64)
}

// Set implements [pflag.Value].
func (r *bitRate) Set(s string) error {
	number, unit := s, 1.0
	for suffix, factor := range map[string]float64{"k": 1e3, "M": 1e6, "G": 1e9} {
		if before, found := strings.CutSuffix(s, suffix); found {
			number, unit = before, factor
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n > 0) || n*unit > 1e12 {
		return fmt.Errorf("%q: want bits a second, such as 500k, 50M or 1G", s)
	}
	*r = bitRate(n * unit)
	return nil
}

// Type implements [pflag.Value].
func (r *bitRate) Type() string { return "rate" }

// unlessOff is a flag: auto, or off. The zero value is auto.
type unlessOff struct{ off bool }

func (u *unlessOff) String() string {
	if u.off {
		return "off"
	}
	return "auto"
}

// Set implements [pflag.Value].
func (u *unlessOff) Set(s string) error {
	if s != "auto" && s != "off" {
		return fmt.Errorf("%q: want auto or off", s)
	}
	u.off = s == "off"
	return nil
}

// Type implements [pflag.Value].
func (u *unlessOff) Type() string { return "mode" }

// days is a duration flag that also knows days.
type days time.Duration

func (d *days) String() string {
	t := time.Duration(*d)
	if whole := t / (24 * time.Hour); t > 24*time.Hour && t%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", whole)
	}
	s := t.String() // 24h0m0s
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// Set implements [pflag.Value].
func (d *days) Set(s string) error {
	const most = 36500 // a hundred years; time.Duration ends at 292
	if number, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil || n > most {
			return fmt.Errorf("want a time such as 90m, 24h or 30d, up to %dd", most)
		}
		*d = days(n) * days(24*time.Hour)
		return nil
	}
	t, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("want a time such as 90m, 24h or 30d, up to %dd", most)
	}
	*d = days(t)
	return nil
}

// Type implements [pflag.Value].
func (d *days) Type() string { return "time" }
