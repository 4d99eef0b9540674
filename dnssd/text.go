package dnssd

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// maxString is the longest string of a TXT record (RFC 1035 §3.3).
const maxString = 255

// peerText is the TXT record of a WireGuard peer: wgsd's three keys, then the
// member's own. Prefixes that don't fit into one string go on in allowed2.
func peerText(m Member) []string {
	text := []string{"txtvers=1", "pub=" + base64.StdEncoding.EncodeToString(m.Key[:])}
	line := "allowed="
	for n, p := range m.AllowedIPs {
		s := p.String()
		if len(line)+1+len(s) > maxString {
			text = append(text, line)
			line = fmt.Sprintf("allowed%d=", n+1)
		}
		if !strings.HasSuffix(line, "=") {
			line += ","
		}
		line += s
	}
	return append(append(text, line), m.Text...)
}

// parsePeerText returns a member's own strings out of its TXT record. What the
// coordinator decides (allowed) is passed over; another's key is an error.
func parsePeerText(text []string, key [32]byte) ([]string, error) {
	var own []string
	for _, s := range text {
		k, v, _ := strings.Cut(s, "=")
		switch k = strings.ToLower(k); {
		case k == "txtvers" && v != "1":
			return nil, fmt.Errorf("txtvers %q is not 1", v)
		case k == "pub" && v != base64.StdEncoding.EncodeToString(key[:]):
			return nil, errors.New("pub is another's key")
		case k == "txtvers" || k == "pub" || strings.HasPrefix(k, "allowed") || s == "":
		default:
			own = append(own, s)
		}
	}
	return own, checkText(own, MaxText)
}

// candidateText writes candidates as "c0=host 192.168.1.5:41641".
func candidateText(list []Candidate) []string {
	text := make([]string, len(list))
	for i, c := range list {
		text[i] = fmt.Sprintf("c%d=%s %s", i, c.Kind, c.Addr)
	}
	return text
}

// parseCandidateText is the inverse of candidateText, in the order of the
// record; numbers are for people and for DNS-SD's rule of unique keys. What has
// another key is a trait.
func parseCandidateText(text []string) (list []Candidate, traits []string, err error) {
	for _, s := range text {
		k, v, _ := strings.Cut(s, "=")
		if n, ok := strings.CutPrefix(k, "c"); !ok || n == "" || !isDigits(n) {
			traits = append(traits, s)
			continue
		}
		c, err := parseCandidate(v)
		if err != nil {
			return nil, nil, fmt.Errorf("candidate %q: %w", s, err)
		}
		list = append(list, c)
	}
	if len(list) > MaxCandidates {
		return nil, nil, fmt.Errorf("%d candidates, more than %d", len(list), MaxCandidates)
	}
	return list, traits, checkText(traits, MaxTraits)
}

func parseCandidate(v string) (Candidate, error) {
	kind, addr, _ := strings.Cut(v, " ")
	if kind == "" || len(kind) > 16 || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz-") != "" {
		return Candidate{}, fmt.Errorf("kind %q is no word of 1 to 16 letters", kind)
	}
	ap, err := netip.ParseAddrPort(addr)
	if err != nil || !usable(ap) {
		return Candidate{}, fmt.Errorf("address %q is no address and port that others could send to", addr)
	}
	return Candidate{Kind: kind, Addr: netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())}, nil
}

// usable reports whether a datagram could be sent to ap by another host.
func usable(ap netip.AddrPort) bool {
	a := ap.Addr()
	return a.IsValid() && ap.Port() != 0 && a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast()
}

// checkText says why text can't be a TXT record of at most limit bytes.
func checkText(text []string, limit int) error {
	sum := 0
	for _, s := range text {
		if len(s) > maxString {
			return fmt.Errorf("text %.20q… has %d bytes, more than %d", s, len(s), maxString)
		}
		sum += 1 + len(s)
	}
	if sum > limit {
		return fmt.Errorf("text has %d bytes, more than %d", sum, limit)
	}
	return nil
}
