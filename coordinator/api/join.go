package api

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// DefaultPort is the control port that a join string need not name.
const DefaultPort = 443

// JoinString is what an owner hands to a new member: where the coordinator is,
// who it must prove to be, and a secret that admits.
//
//	meshd1:hub.example/c5gn…      port 443
//	meshd1:hub.example,203.0.113.1,[2001:db8::1]:8443/c5gn…
//
// The part after the slash is base32 of
//
//	pin 16 | secret 16 | checksum 4
//
// The checksum (of SHA-256 over version, pin and secret) tells a typing error
// from a wrong secret. It leaves the hosts out on purpose: they may be edited
// by hand when the hub is reached by another name.
type JoinString struct {
	Hosts  []string // DNS names and IP addresses, at least one; the first is tried first
	Port   uint16   // TCP
	Pin    Pin
	Secret [16]byte
}

const (
	joinVersion = "meshd1"
	codeLength  = 58 // of 36 bytes in base32
)

// String returns the whole join string, secret included: never for a log.
func (j JoinString) String() string {
	raw := append(j.Pin[:], j.Secret[:]...)
	raw = append(raw, checksum(raw)...)
	return joinVersion + ":" + j.where() + "/" + base32Lower.EncodeToString(raw)
}

// GoString keeps the secret out of %#v.
func (j JoinString) GoString() string { return joinVersion + ":" + j.where() + "/(secret)" }

func (j JoinString) where() string {
	hosts := make([]string, len(j.Hosts))
	for i, h := range j.Hosts {
		hosts[i] = h
		if strings.Contains(h, ":") {
			hosts[i] = "[" + h + "]"
		}
	}
	where := strings.Join(hosts, ",")
	if j.Port != DefaultPort {
		where += ":" + strconv.Itoa(int(j.Port))
	}
	return where
}

// ParseJoin reads a join string, in any case and with white space around it.
// Errors name the host or the offending part, and never show the secret.
func ParseJoin(s string) (JoinString, error) {
	s = lower(strings.TrimSpace(s))
	rest, err := cutVersion(s)
	if err != nil {
		return JoinString{}, err
	}
	where, code, found := strings.Cut(rest, "/")
	if !found {
		return JoinString{}, fmt.Errorf("join string %q is cut short: nothing after the host", clip(s))
	}
	var j JoinString
	if j.Hosts, j.Port, err = parseWhere(where); err != nil {
		return JoinString{}, fmt.Errorf("join string: %w", err)
	}
	if j.Pin, j.Secret, err = parseCode(code, utf8.RuneCountInString(s[:len(s)-len(code)])); err != nil {
		return JoinString{}, fmt.Errorf("join string for %s %w", where, err)
	}
	return j, nil
}

func cutVersion(s string) (string, error) {
	if s == "" {
		return "", errors.New("join string is empty")
	}
	if rest, ok := strings.CutPrefix(s, joinVersion+":"); ok {
		return rest, nil
	}
	version, _, found := strings.Cut(s, ":")
	digits, ours := strings.CutPrefix(version, "meshd")
	if n, err := strconv.ParseUint(digits, 10, 32); found && ours && err == nil {
		return "", fmt.Errorf("join string has version %d: this meshd knows version 1 only", n)
	}
	return "", fmt.Errorf(`%q is no join string: it must begin with "%s:"`, clip(s), joinVersion)
}

// clip keeps errors to one line, and the better part of a secret out of them.
func clip(s string) string {
	const most = 24
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}

// parseWhere reads host[,host…][:port].
func parseWhere(s string) (hosts []string, port uint16, err error) {
	port = DefaultPort
	if colon := strings.LastIndexByte(s, ':'); colon > strings.LastIndexByte(s, ']') {
		p, err := strconv.ParseUint(s[colon+1:], 10, 16)
		if err != nil || p == 0 {
			return nil, 0, fmt.Errorf("port %q of %q: want 1 to 65535", s[colon+1:], s)
		}
		s, port = s[:colon], uint16(p)
	}
	if s == "" {
		return nil, 0, errors.New("no host is named")
	}
	for h := range strings.SplitSeq(s, ",") {
		host, err := parseHost(h)
		if err != nil {
			return nil, 0, err
		}
		hosts = append(hosts, host)
	}
	return hosts, port, nil
}

// parseHost takes a DNS name, an IPv4 address, or an IPv6 address in brackets.
func parseHost(s string) (string, error) {
	inner, bracket := strings.CutPrefix(s, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	ip, err := netip.ParseAddr(inner)
	switch {
	case s == "":
		return "", errors.New("a host is empty")
	case err == nil && ip.Zone() != "":
		return "", fmt.Errorf("host %q: a zone has no meaning on another machine", s)
	case err == nil && ip.Is6() == (bracket && closed) && bracket == closed:
		return ip.String(), nil
	case err == nil && ip.Is6():
		return "", fmt.Errorf("host %q: IPv6 needs brackets, [%s]", s, ip)
	case !isDNSName(s):
		return "", fmt.Errorf("host %q is neither a DNS name nor an IP address", s)
	}
	return s, nil
}

// isDNSName accepts the letter-digit-hyphen names of RFC 1123 §2.1, and the
// underscore that real zones contain. The last label may not be a number: such
// a name is a mistyped IPv4 address.
func isDNSName(s string) bool {
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return len(s) <= 253 && strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// parseCode reads the part after the slash; offset is how many characters stand before it.
func parseCode(code string, offset int) (pin Pin, secret [16]byte, err error) {
	for i, r := range []rune(code) {
		if !('a' <= r && r <= 'z' || '2' <= r && r <= '7') {
			return pin, secret, fmt.Errorf("has a bad character %q at position %d", r, offset+i+1)
		}
	}
	switch {
	case len(code) < codeLength:
		return pin, secret, fmt.Errorf("is cut short (%d of %d characters after the slash)", len(code), codeLength)
	case len(code) > codeLength:
		return pin, secret, fmt.Errorf("is too long (%d characters after the slash, not %d)", len(code), codeLength)
	}
	raw, err := base32Lower.DecodeString(code)
	if err != nil {
		return pin, secret, err
	}
	// The encoder's spare bits are zero; others would give one secret two spellings.
	if !bytes.Equal(checksum(raw[:32]), raw[32:]) || base32Lower.EncodeToString(raw) != code {
		return pin, secret, errors.New("has a wrong checksum: a character was changed on its way")
	}
	return Pin(raw[:16]), [16]byte(raw[16:32]), nil
}

func checksum(body []byte) []byte {
	h := sha256.New()
	h.Write([]byte(joinVersion))
	h.Write(body)
	return h.Sum(nil)[:4]
}

// hostPort joins a host of a join string with its port.
func hostPort(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}
