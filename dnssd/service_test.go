package dnssd

import (
	"net/netip"
	"strings"
	"testing"
)

func TestServiceType(t *testing.T) {
	for s, want := range map[string]string{
		"http": "_http._tcp", "_http": "_http._tcp", "_http._tcp": "_http._tcp", "_DNS._udp.": "_dns._udp", "a-1": "_a-1._tcp",
		"": "its name is not", "_": "its name is not", "http.tcp": "form", "_http._sctp": "form", "waytoolongservicename": "more than 15", "ht_tp": "letters, digits",
		"123": "no letter", "a--b": "two hyphens", "-a": "hyphens", "_wireguard._udp": "the zone's own", "a.b.c": "form",
	} {
		got, err := ServiceType(s, "tcp")
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%q: got %s, want %s", s, got, want)
		}
	}
	if got, err := ServiceType("dns", "udp"); got != "_dns._udp" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestServiceCheck(t *testing.T) {
	good := Service{Instance: "Files on nas", Type: "_http._tcp", Port: 80, Text: []string{"path=/", "flag", "empty="}}
	if err := good.Check("meshd.internal", "nas"); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for want, change := range map[string]func(*Service){
		"not 1 to 63":         func(s *Service) { s.Instance = strings.Repeat("ü", 32) },
		"has 0 bytes":         func(s *Service) { s.Instance = "" },
		"port 0":              func(s *Service) { s.Port = 0 },
		"more than 255":       func(s *Service) { s.Text = []string{"k=" + strings.Repeat("v", 255)} },
		"more than 1024":      func(s *Service) { s.Text = many(5) },
		"no key":              func(s *Service) { s.Text = []string{"=v"} },
		"printable ASCII":     func(s *Service) { s.Text = []string{"schlüssel=v"} },
		`"path" is there twi`: func(s *Service) { s.Text = append(s.Text, "PATH=2") },
		"form":                func(s *Service) { s.Type = "http" },
		"has no address":      func(s *Service) { s.Host = "printer" },
		"host name":           func(s *Service) { s.Host, s.Addresses = "dots.in.it", []netip.Addr{netip.MustParseAddr("192.0.2.1")} },
	} {
		s := good
		change(&s)
		if err := s.Check("meshd.internal", "nas"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want …%s…", err, want)
		}
	}
}

// many are n texts of 250 bytes.
func many(n int) (list []string) {
	for i := range n {
		list = append(list, string(rune('a'+i))+"="+strings.Repeat("v", 248))
	}
	return list
}
