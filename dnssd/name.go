package dnssd

import (
	"encoding/base32"
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// maxLabel is the longest label of a name, in bytes (RFC 1035 §2.3.4).
const maxLabel = 63

// Names of the zone, relative to it.
const (
	wireguardType  = "_wireguard._udp"
	typesName      = "_services._dns-sd._udp" // RFC 6763 §9
	candidateLabel = "_cand"
)

// InstanceLabel is the DNS-SD instance of a WireGuard key: base32 with padding,
// 56 characters, in lower case as wgsd prints it.
func InstanceLabel(key [32]byte) string {
	return strings.ToLower(base32.StdEncoding.EncodeToString(key[:]))
}

// canonical is a name as the table knows it: absolute and in lower case. A name
// that is both already isn't copied.
func canonical(name string) string { return dns.CanonicalName(name) }

// join puts a label of any bytes before a domain, escaped as names out of a
// message are, so that both compare equal.
func join(label, domain string) (string, error) {
	if label == "" || len(label) > maxLabel {
		return "", fmt.Errorf("label %q has %d bytes, not 1 to %d", label, len(label), maxLabel)
	}
	name := escape(label) + "." + domain
	if _, ok := dns.IsDomainName(name); !ok {
		return "", fmt.Errorf("name %q is longer than 255 bytes or has an empty label", name)
	}
	return name, nil
}

// escape writes a label in presentation format (RFC 4343 §2.1).
func escape(label string) string {
	var b strings.Builder
	for i := range len(label) {
		switch c := label[i]; {
		case strings.IndexByte(`. '@;()"\`, c) >= 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03d`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Unescape returns the bytes of a label or a text that is in presentation format
// (RFC 4343 §2.1): "My\032printer" is "My printer".
func Unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\' || i+1 == len(s):
			b.WriteByte(s[i])
		case i+3 < len(s) && isDigits(s[i+1:i+4]):
			b.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0')
			i += 3
		default:
			i++
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func isDigits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

// cut splits an absolute name into its first label, unescaped, and its parent.
// The root has neither.
func cut(name string) (label, parent string) {
	i, end := dns.NextLabel(name, 0)
	if name == "." || name == "" {
		return "", ""
	}
	if end {
		return Unescape(strings.TrimSuffix(name, ".")), "."
	}
	return Unescape(name[:i-1]), name[i:]
}

// parent is the name without its first label.
func parent(name string) string {
	if i, end := dns.NextLabel(name, 0); !end {
		return name[i:]
	}
	return "."
}

// checkHost says why label can't be that of a host (RFC 1123 §2.1).
func checkHost(label string) error {
	ok := label != "" && len(label) <= maxLabel && label[0] != '-' && label[len(label)-1] != '-'
	for i := 0; ok && i < len(label); i++ {
		c := label[i] | 0x20
		ok = c >= 'a' && c <= 'z' || label[i] >= '0' && label[i] <= '9' || label[i] == '-'
	}
	if !ok {
		return fmt.Errorf("host name %q is no label of 1 to %d letters, digits and inner hyphens", label, maxLabel)
	}
	return nil
}

// checkType says why typ is no service type like _http._tcp (RFC 6763 §7).
func checkType(typ string) error {
	service, proto, ok := strings.Cut(strings.ToLower(typ), ".")
	if !ok || proto != "_tcp" && proto != "_udp" || !strings.HasPrefix(service, "_") {
		return fmt.Errorf("service type %q is not of the form _name._tcp or _name._udp", typ)
	}
	name := service[1:]
	if len(name) > 15 {
		return fmt.Errorf("service type %q: its name has %d characters, more than 15", typ, len(name))
	}
	if checkHost(name) != nil {
		return fmt.Errorf("service type %q: its name is not of letters, digits and inner hyphens", typ)
	}
	if service+"."+proto == wireguardType || service == "_dns-sd" {
		return fmt.Errorf("service type %q is the zone's own", typ)
	}
	return nil
}

// reverseName is the name of an address under in-addr.arpa or ip6.arpa.
func reverseName(a netip.Addr) string {
	name, err := dns.ReverseAddr(a.Unmap().WithZone("").String())
	if err != nil {
		return ""
	}
	return name
}

// reverseZones are the zones under in-addr.arpa or ip6.arpa that cover exactly
// p: one if it ends at a label's boundary (8 bits in IPv4, 4 in IPv6), several
// of the next longer boundary if not, so that nothing of others is claimed.
func reverseZones(p netip.Prefix) []string {
	unit := 8
	if p.Addr().Is6() {
		unit = 4
	}
	labels := (p.Bits() + unit - 1) / unit
	whole := p.Addr().BitLen() / unit
	var zones []string
	raw := p.Masked().Addr().AsSlice()
	for range 1 << (labels*unit - p.Bits()) {
		a, _ := netip.AddrFromSlice(raw)
		name := reverseName(a)
		for range whole - labels {
			name = parent(name)
		}
		zones = append(zones, name)
		if labels > 0 {
			last := labels*unit - 1
			raw[last/8] += 1 << (7 - last%8)
		}
	}
	return zones
}
