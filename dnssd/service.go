package dnssd

import (
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// ServiceType is the type that a person means by "http", "_http" or "_http._tcp";
// the protocol, "tcp" or "udp", is for when it isn't said. It fails for what is no
// service name by RFC 6335 §5.1.
func ServiceType(s, protocol string) (string, error) {
	name, proto, said := strings.Cut(strings.ToLower(strings.TrimSuffix(s, ".")), ".")
	if !said {
		proto = "_" + strings.TrimPrefix(protocol, "_")
	}
	typ := "_" + strings.TrimPrefix(name, "_") + "." + proto
	if err := checkType(typ); err != nil {
		return "", err
	}
	if !strings.ContainsAny(name, "abcdefghijklmnopqrstuvwxyz") {
		return "", fmt.Errorf("service type %q: its name has no letter", typ)
	}
	if strings.Contains(name, "--") {
		return "", fmt.Errorf("service type %q: its name has two hyphens in a row", typ)
	}
	return typ, nil
}

// Check says why a member could not publish the service in a zone; the error
// names the limit that it breaks.
func (s Service) Check(zone, member string) error {
	z, err := NewZone(ZoneConfig{Name: zone})
	if err != nil {
		return err
	}
	if s.Port == 0 {
		return errors.New("port 0 is none: want 1 to 65535")
	}
	keys := map[string]bool{}
	for _, pair := range s.Text {
		if err := checkPair(pair, keys); err != nil {
			return err
		}
	}
	if s.Host != "" && len(s.Addresses) == 0 {
		return fmt.Errorf("host %q has no address", s.Host)
	}
	r := &records{own: map[string][]dns.RR{}}
	if err := checkHost(member); err != nil {
		return err
	}
	if err := r.service(z, strings.ToLower(member)+"."+z.name, s); err != nil {
		return err
	}
	return r.err
}

// checkPair says why s can't be one of a service's "key=value" (RFC 6763 §6.4);
// keys are those before it.
func checkPair(s string, keys map[string]bool) error {
	key, _, _ := strings.Cut(s, "=")
	key = strings.ToLower(key)
	switch {
	case key == "":
		return fmt.Errorf("text %q has no key: want key=value", s)
	case strings.IndexFunc(key, func(c rune) bool { return c < ' ' || c > '~' }) >= 0:
		return fmt.Errorf("text %q: its key has other characters than printable ASCII", s)
	case keys[key]:
		return fmt.Errorf("text key %q is there twice", key)
	}
	keys[key] = true
	return nil
}
