package coordinator

import (
	"crypto/rand"
	"fmt"
	"net/netip"

	"connectrpc.com/connect"
)

// Settings hold for the whole mesh and are fixed at the first start; the
// counters move on.
type Settings struct {
	Mesh        string       // name of the mesh
	Prefix4     netip.Prefix // overlay addresses
	Prefix6     netip.Prefix
	Zone        string   // DNS zone of the mesh
	RelaySecret [32]byte // relay session keys are derived from it
	NextMember  MemberID // the next one to give
	NextKey     KeyID
}

// IsZero reports whether the settings were never made.
func (s Settings) IsZero() bool { return s.Mesh == "" }

// Wishes are the settings asked for at a start. Zero fields ask for what was
// settled at the first start; at that, for "meshd", 100.96.0.0/16, a random /48
// in fd00::/8, and MESH.internal.
type Wishes struct {
	Mesh             string
	Prefix4, Prefix6 netip.Prefix
	Zone             string
}

var defaultPrefix4 = netip.MustParsePrefix("100.96.0.0/16")

// newSettings makes the settings of a new mesh.
func newSettings(w Wishes) (Settings, error) {
	s := Settings{Mesh: w.Mesh, Prefix4: w.Prefix4, Prefix6: w.Prefix6, Zone: w.Zone, NextMember: 1, NextKey: 1}
	rand.Read(s.RelaySecret[:])
	if s.Mesh == "" {
		s.Mesh = "meshd"
	}
	if !s.Prefix4.IsValid() {
		s.Prefix4 = defaultPrefix4
	}
	if !s.Prefix6.IsValid() {
		s.Prefix6 = randomULA()
	}
	if s.Zone == "" {
		s.Zone = s.Mesh + ".internal"
	}
	return s, s.check()
}

// randomULA draws a /48 as RFC 4193 §3.2 wants it.
func randomULA() netip.Prefix {
	b := [16]byte{0: 0xfd}
	rand.Read(b[1:6])
	return netip.PrefixFrom(netip.AddrFrom16(b), 48)
}

func (s Settings) check() error {
	if err := checkLabel(s.Mesh); err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	for _, f := range []struct {
		flag string
		p    netip.Prefix
	}{{"prefix4", s.Prefix4}, {"prefix6", s.Prefix6}} {
		if f.p != f.p.Masked() {
			return invalid("%s %s has bits beyond its length: want %s", f.flag, f.p, f.p.Masked())
		}
	}
	if p := s.Prefix4; !p.Addr().Is4() || p.Bits() < 8 || p.Bits() > 29 {
		return invalid("prefix4 %s: an IPv4 network from /8 to /29 is wanted", p)
	}
	if p := s.Prefix6; !p.Addr().Is6() || p.Addr().Is4In6() || p.Bits() > 96 {
		return invalid("prefix6 %s: an IPv6 network of /96 or larger is wanted", p)
	}
	return nil
}

// agree says where the wishes differ from settings made at an earlier start.
// Addresses in use cannot change under the members that have them.
func (s Settings) agree(w Wishes) error {
	for _, f := range []struct {
		flag, is, asked string
		wished          bool
	}{
		{"mesh", s.Mesh, w.Mesh, w.Mesh != ""},
		{"prefix4", s.Prefix4.String(), w.Prefix4.String(), w.Prefix4.IsValid()},
		{"prefix6", s.Prefix6.String(), w.Prefix6.String(), w.Prefix6.IsValid()},
		{"zone", s.Zone, w.Zone, w.Zone != ""},
	} {
		if f.wished && f.is != f.asked {
			hint := fmt.Sprintf("leave out --%s, or begin a new mesh with another --state folder", f.flag)
			return Errorf(connect.CodeFailedPrecondition, hint,
				"--%s %s was asked for, but this mesh has had %s since its first start", f.flag, f.asked, f.is)
		}
	}
	return nil
}
