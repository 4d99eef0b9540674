package coordinator

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var noon = time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)

// equal lets cmp compare addresses.
var equal = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})

// story drives a network by hand, as the coordinator's loop does.
type story struct {
	t   *testing.T
	now time.Time
	n   *Network
}

func newStory(t *testing.T, prefix4 string) *story {
	t.Helper()
	settings, err := newSettings(Wishes{
		Mesh: "home", Prefix4: netip.MustParsePrefix(prefix4), Prefix6: netip.MustParsePrefix("fd12:3456:789a::/48"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &story{t: t, now: noon, n: NewNetwork(State{Settings: settings})}
}

func (s *story) try(e Event) error {
	changes, err := s.n.Decide(s.now, e)
	if err == nil {
		s.n.Apply(changes)
	}
	return err
}

func (s *story) do(e Event) {
	s.t.Helper()
	if err := s.try(e); err != nil {
		s.t.Fatalf("%T: %v", e, err)
	}
}

// key makes a join key whose secret is its name.
func (s *story) key(name string, k CreateKey) {
	s.t.Helper()
	k.Hash = HashSecret([]byte(name))
	s.do(k)
}

// identity makes up the key of a device; its WireGuard key is the same bytes.
func identity(device string) (k PublicKey) {
	copy(k[:], device)
	return k
}

func join(device, secret string) Join {
	e := Join{Identity: identity(device), WireGuard: identity(device), Hostname: device, Version: "1"}
	if secret != "" {
		e.Secret = HashSecret([]byte(secret))
	}
	return e
}

// joined joins and returns the member.
func (s *story) joined(device, secret string) Member {
	s.t.Helper()
	s.do(join(device, secret))
	return s.member(device)
}

func (s *story) member(device string) Member {
	s.t.Helper()
	m, ok := s.n.ByIdentity(identity(device))
	if !ok {
		s.t.Fatalf("%s is no member", device)
	}
	return m
}

// refused wants an error with this code whose text contains part.
func refused(t *testing.T, err error, code connect.Code, part string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an error that says %q", err, part)
	}
	if e.Code != code || !strings.Contains(e.Error(), part) {
		t.Errorf("got %v: %v, want %v: …%s…", e.Code, e, code, part)
	}
	if code == connect.CodePermissionDenied && e.Hint() == "" {
		t.Errorf("no hint beside %q", e)
	}
}

func TestJoinWaitsForApproval(t *testing.T) {
	s := newStory(t, "100.96.0.0/16")
	s.key("once", CreateKey{})
	m := s.joined("nas", "once")
	if m.Standing != Pending || m.Name != "nas" || m.ID != 1 {
		t.Errorf("got %+v, want pending member 1 called nas", m)
	}
	if m.Addr4 != netip.MustParseAddr("100.96.0.2") || m.Addr6 != netip.MustParseAddr("fd12:3456:789a::2") {
		t.Errorf("got %v %v, want 100.96.0.2 fd12:3456:789a::2", m.Addr4, m.Addr6)
	}
	s.do(Approve{m.ID})
	if m = s.member("nas"); m.Standing != Approved {
		t.Errorf("got %v, want approved", m.Standing)
	}
}

func TestSecretsThatAdmitNobody(t *testing.T) {
	s := newStory(t, "100.96.0.0/16")
	s.key("once", CreateKey{})
	s.key("hour", CreateKey{Expires: time.Hour})
	s.key("revoked", CreateKey{Reusable: true})
	s.do(ExpireKey{3})
	s.joined("nas", "once")
	s.now = s.now.Add(2 * time.Hour)
	for secret, want := range map[string]string{
		"once":    "has been used already",
		"hour":    "expired on 2030-05-01 13:00 UTC",
		"revoked": "was revoked on 2030-05-01 12:00 UTC",
		"other":   `not known to mesh "home"`,
		"":        `no member of mesh "home", and showed no secret`,
	} {
		refused(t, s.try(join("thief", secret)), connect.CodePermissionDenied, want)
	}
	if got := len(s.n.Members()); got != 1 {
		t.Errorf("got %d members, want 1", got)
	}
}

func TestKeysLastADayUnlessToldOtherwise(t *testing.T) {
	s := newStory(t, "100.96.0.0/16")
	s.key("default", CreateKey{Reusable: true})
	s.now = noon.Add(24*time.Hour - time.Second)
	s.joined("nas", "default")
	s.now = noon.Add(24 * time.Hour)
	refused(t, s.try(join("late", "default")), connect.CodePermissionDenied, "expired")
	s.now = noon.Add(24*time.Hour + keyMemory + time.Second)
	s.do(Tick{})
	refused(t, s.try(join("late", "default")), connect.CodePermissionDenied, "not known")
}

func TestReusableKeyGivesWhatItPromises(t *testing.T) {
	s := newStory(t, "100.96.0.0/16")
	s.key("fleet", CreateKey{Reusable: true, Approved: true, Ephemeral: true, Tags: []string{"ci"}})
	for i, want := range []string{"runner", "runner-2", "runner-3"} {
		e := join(fmt.Sprint("runner", i), "fleet")
		e.Hostname = "Runner.example.com"
		s.do(e)
		m := s.member(fmt.Sprint("runner", i))
		if m.Name != want || !m.Active() || !m.Ephemeral || !slices.Equal(m.Tags, []string{"ci"}) {
			t.Errorf("got %+v, want active, ephemeral, tagged %s", m, want)
		}
	}
	if got := s.n.Keys()[0].Used; got != 3 {
		t.Errorf("key used %d times, want 3", got)
	}
}

func TestRejoinKeepsMembership(t *testing.T) {
	s := newStory(t, "100.96.0.0/16")
	s.key("once", CreateKey{})
	before := s.joined("nas", "once")
	for _, secret := range []string{"once", "", "nonsense"} {
		e := join("nas", secret)
		e.Hostname = "renamed"
		s.do(e)
		if diff := cmp.Diff(s.member("nas"), before, equal); diff != "" {
			t.Errorf("with secret %q: %s", secret, diff)
		}
	}
	if got := s.n.Keys()[0].Used; got != 1 {
		t.Errorf("key used %d times, want 1", got)
	}
	s.key("sesame", CreateKey{Approved: true})
	if m := s.joined("nas", "sesame"); !m.Active() || m.ID != before.ID {
		t.Errorf("got %+v, want the same member, approved by the second secret", m)
	}
}

func TestExpiredMemberNeedsApproval(t *testing.T) {
	s := newStory(t, "100.96.0.0/16")
	s.key("fleet", CreateKey{Approved: true, Reusable: true})
	m := s.joined("nas", "fleet")
	s.do(Expire{m.ID})
	if m = s.joined("nas", "fleet"); m.Standing != Expired || !m.Expires.Equal(noon) {
		t.Errorf("got %v since %v, want expired: joining again is no way around", m.Standing, m.Expires)
	}
	s.do(Approve{m.ID})
	if m = s.member("nas"); !m.Active() || !m.Expires.IsZero() {
		t.Errorf("got %v until %v, want approved for good", m.Standing, m.Expires)
	}
}

func TestAddressesStick(t *testing.T) {
	s := newStory(t, "10.0.0.0/29") // .2 to .6
	s.key("all", CreateKey{Reusable: true, Expires: 365 * 24 * time.Hour})
	for i, want := range []string{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"} {
		if m := s.joined(fmt.Sprint("m", i), "all"); m.Addr4.String() != want {
			t.Errorf("got %v, want %s", m.Addr4, want)
		}
	}
	s.do(Delete{s.member("m1").ID})

	t.Log("the address of a deleted member rests for 30 days …")
	refused(t, s.try(join("new", "all")), connect.CodeResourceExhausted, "no address is left in 10.0.0.0/29")
	t.Log("… but not for the machine that had it")
	m := s.joined("m1", "all")
	if m.Addr4.String() != "10.0.0.3" || m.ID != 6 {
		t.Errorf("got %v as member %d, want 10.0.0.3 as 6", m.Addr4, m.ID)
	}
	s.do(Delete{m.ID})
	s.now = s.now.Add(QuarantineTime)
	s.do(Tick{})
	if m := s.joined("new", "all"); m.Addr4.String() != "10.0.0.3" {
		t.Errorf("got %v, want 10.0.0.3", m.Addr4)
	}
}

func TestUsableAddresses(t *testing.T) {
	p := netip.MustParsePrefix("10.1.0.0/16")
	for _, c := range []struct {
		addr string
		want bool
	}{
		{"10.1.0.0", false}, // the network
		{"10.1.0.1", false}, // the hub
		{"10.1.0.2", true},
		{"10.1.0.255", false}, // looks like a broadcast address
		{"10.1.1.0", false},   // looks like a network
		{"10.1.1.1", true},
		{"10.1.255.254", true},
		{"10.1.255.255", false},
	} {
		if got := usable(p, netip.MustParseAddr(c.addr)); got != c.want {
			t.Errorf("%s: got %v, want %v", c.addr, got, c.want)
		}
	}
	if got := addr6(netip.MustParsePrefix("fd00:1:2::/48"), p, netip.MustParseAddr("10.1.2.3")); got.String() != "fd00:1:2::203" {
		t.Errorf("got %v, want fd00:1:2::203", got)
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct{ hostname, want string }{
		{"nas", "nas"},
		{"NAS.home.example", "nas"},
		{"Anna's MacBook Pro", "anna-s-macbook-pro"},
		{"-lead-and-trail-", "lead-and-trail"},
		{"größe", "gr--e"},
		{"", "host"},
		{"...", "host"},
		{"日本", "host"},
		{strings.Repeat("a", 70), strings.Repeat("a", 63)},
		{strings.Repeat("a", 62) + "-b", strings.Repeat("a", 62)},
	} {
		if got := Label(c.hostname); got != c.want {
			t.Errorf("%q: got %q, want %q", c.hostname, got, c.want)
		}
	}
	long := strings.Repeat("a", 63)
	taken := map[string]bool{long: true, long[:61] + "-2": true}
	if got, want := uniqueLabel(long, func(s string) bool { return taken[s] }), long[:61]+"-3"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRename(t *testing.T) {
	s := newStory(t, "100.96.0.0/16")
	s.key("all", CreateKey{Reusable: true})
	nas, laptop := s.joined("nas", "all"), s.joined("laptop", "all")
	s.do(Rename{nas.ID, "nas"}) // its own name is no clash
	s.do(Rename{nas.ID, "vault"})
	s.do(Rename{laptop.ID, "nas"}) // free now
	refused(t, s.try(Rename{laptop.ID, "vault"}), connect.CodeAlreadyExists, `"vault" belongs to member number 1`)
	refused(t, s.try(Rename{laptop.ID, "Two Words"}), connect.CodeInvalidArgument, `"Two Words" is no DNS label`)
	refused(t, s.try(Rename{laptop.ID, strings.Repeat("x", 64)}), connect.CodeInvalidArgument, "more than 63")
	refused(t, s.try(Rename{99, "ghost"}), connect.CodeNotFound, "no member number 99")
	for ref, want := range map[string]MemberID{"vault": 1, "nas": 2, "100.96.0.3": 2, "fd12:3456:789a::2": 1, "2": 2} {
		if m, err := s.n.Find(ref); err != nil || m.ID != want {
			t.Errorf("%s: got %d, %v, want %d", ref, m.ID, err, want)
		}
	}
	_, err := s.n.Find("laptop")
	refused(t, err, connect.CodeNotFound, `"laptop"`)
}

func TestWireGuardKeysAreUnique(t *testing.T) {
	s := newStory(t, "100.96.0.0/16")
	s.key("all", CreateKey{Reusable: true})
	nas, laptop := s.joined("nas", "all"), s.joined("laptop", "all")
	refused(t, s.try(RotateKey{laptop.ID, nas.WireGuard}), connect.CodeAlreadyExists, "belongs to another member")
	refused(t, s.try(RotateKey{laptop.ID, PublicKey{}}), connect.CodeInvalidArgument, "zeros")
	clone := join("clone", "all")
	clone.WireGuard = nas.WireGuard
	refused(t, s.try(clone), connect.CodeAlreadyExists, "belongs to another member")
	s.do(RotateKey{nas.ID, identity("fresh")})
	s.do(clone) // the old one is nobody's now
}

func TestEphemeralMembersGo(t *testing.T) {
	s := newStory(t, "100.96.0.0/16")
	s.key("ci", CreateKey{Ephemeral: true, Approved: true, Reusable: true})
	runner := s.joined("runner", "ci")
	s.joined("stillborn", "ci") // never connects
	s.do(Connect{runner.ID, "1"})
	s.now = s.now.Add(time.Hour)
	s.do(Tick{})
	if got := s.n.Members(); len(got) != 1 || got[0].Name != "runner" {
		t.Fatalf("got %v, want the runner alone, as long as it is online", got)
	}
	s.do(Disconnect{runner.ID})
	s.now = s.now.Add(EphemeralGrace)
	s.do(Tick{})
	if got := len(s.n.Members()); got != 1 {
		t.Errorf("got %d members, want 1 until the grace is over", got)
	}
	s.now = s.now.Add(time.Second)
	s.do(Tick{})
	if got := len(s.n.Members()); got != 0 {
		t.Errorf("got %d members, want 0", got)
	}
}

func TestObservedAddressStaysFresh(t *testing.T) {
	addr := netip.MustParseAddrPort
	host := Endpoint{addr("192.168.1.7:41641"), "host"}
	v6 := Endpoint{addr("[2001:db8::7]:41641"), reflexive}
	old := Endpoint{addr("203.0.113.9:5000"), reflexive}
	fresh := Endpoint{addr("203.0.113.9:6000"), reflexive}

	s := newStory(t, "100.96.0.0/16")
	s.key("once", CreateKey{Approved: true})
	id := s.joined("nas", "once").ID
	s.do(Publish{ID: id, Endpoints: []Endpoint{host, v6, old}})
	first := s.member("nas").Generation

	t.Log("seen where it said: nothing new")
	s.do(Observe{id, old.Addr, "udp"})
	if got := s.member("nas").Generation; got != first {
		t.Errorf("got generation %d, want %d", got, first)
	}
	t.Log("its NAT has forgotten: the new mapping takes the old one's place")
	s.do(Observe{id, fresh.Addr, "udp"})
	m := s.member("nas")
	if diff := cmp.Diff(m.Endpoints, []Endpoint{host, v6, fresh}, equal); diff != "" || m.Generation <= first {
		t.Errorf("generation %d after %d: %s", m.Generation, first, diff)
	}
	t.Log("a publication that knows less than the hub is completed")
	s.do(Publish{ID: id, Endpoints: []Endpoint{host}})
	if diff := cmp.Diff(s.member("nas").Endpoints, []Endpoint{host, fresh}, equal); diff != "" {
		t.Error(diff)
	}
	t.Log("by TLS only: what TCP looks like says nothing of UDP")
	s.do(Observe{id, addr("203.0.113.9:7000"), "tls"})
	if diff := cmp.Diff(s.member("nas").Endpoints, []Endpoint{host, fresh}, equal); diff != "" {
		t.Error(diff)
	}
	s.do(Observe{ID: id})
	if m := s.member("nas"); m.Relay != "" || m.Observed.IsValid() {
		t.Errorf("got %q %v, want no session", m.Relay, m.Observed)
	}
}

func TestPublishRefusesNonsense(t *testing.T) {
	s := newStory(t, "100.96.0.0/16")
	s.key("once", CreateKey{Approved: true})
	id := s.joined("nas", "once").ID
	addr := netip.MustParseAddrPort("203.0.113.9:5000")
	for want, e := range map[string]Publish{
		"65 endpoints are more than 64": {Endpoints: make([]Endpoint, 65)},
		"is no address and port":        {Endpoints: []Endpoint{{netip.MustParseAddrPort("0.0.0.0:1"), "host"}}},
		`unknown kind "magic"`:          {Endpoints: []Endpoint{{addr, "magic"}}},
		`mapping "symmetric"`:           {NAT: NAT{Mapping: "symmetric"}},
		"range 9-8 is none":             {NAT: NAT{Low: 9, High: 8}},
	} {
		e.ID = id
		refused(t, s.try(e), connect.CodeInvalidArgument, want)
	}
}

func TestGenerationSurvivesALostState(t *testing.T) {
	s := newStory(t, "100.96.0.0/16")
	s.key("once", CreateKey{Approved: true})
	id := s.joined("nas", "once").ID
	endpoint := func(port uint16) []Endpoint {
		return []Endpoint{{netip.AddrPortFrom(netip.MustParseAddr("203.0.113.9"), port), "host"}}
	}
	lost := s.member("nas")
	s.do(Publish{ID: id, Endpoints: endpoint(1)})
	told := s.member("nas").Generation

	t.Log("the hub crashes before the presence is stored")
	s.n.Apply([]Change{PutPresence{id, lost.Presence}})
	s.now = s.now.Add(time.Second)
	s.do(Publish{ID: id, Endpoints: endpoint(2)})
	if got := s.member("nas").Generation; got <= told {
		t.Errorf("got generation %d, want more than %d", got, told)
	}
}

func TestSettingsAreFixedAtFirstStart(t *testing.T) {
	settings, err := newSettings(Wishes{Mesh: "home"})
	if err != nil {
		t.Fatal(err)
	}
	if p := settings.Prefix6; p.Bits() != 48 || p.Addr().As16()[0] != 0xfd {
		t.Errorf("got %v, want a random /48 in fd00::/8", p)
	}
	if settings.Zone != "home.internal" || settings.Prefix4 != defaultPrefix4 {
		t.Errorf("got %+v, want zone home.internal and %v", settings, defaultPrefix4)
	}
	if err := settings.agree(Wishes{Mesh: "home", Prefix4: defaultPrefix4}); err != nil {
		t.Errorf("the same wishes again: %v", err)
	}
	err = settings.agree(Wishes{Prefix4: netip.MustParsePrefix("10.9.0.0/16")})
	refused(t, err, connect.CodeFailedPrecondition, "--prefix4 10.9.0.0/16 was asked for, but this mesh has had 100.96.0.0/16")

	_, err = newSettings(Wishes{Prefix4: netip.MustParsePrefix("10.9.0.1/16")})
	refused(t, err, connect.CodeInvalidArgument, "prefix4 10.9.0.1/16 has bits beyond its length: want 10.9.0.0/16")
	for _, w := range []Wishes{
		{Prefix4: netip.MustParsePrefix("10.9.0.0/30")},
		{Prefix4: netip.MustParsePrefix("fd00::/48")},
		{Prefix6: netip.MustParsePrefix("10.9.0.0/16")},
		{Prefix6: netip.MustParsePrefix("fd00::/112")},
		{Mesh: "my mesh"},
	} {
		if _, err := newSettings(w); err == nil {
			t.Errorf("%+v was accepted", w)
		}
	}
}

func FuzzLabel(f *testing.F) {
	for _, s := range []string{"nas", "NAS.local", "-", "", "größe", strings.Repeat("x-", 40), "\xff\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, hostname string) {
		label := Label(hostname)
		if err := checkLabel(label); err != nil {
			t.Errorf("%q: %v", hostname, err)
		}
		other := uniqueLabel(label, func(s string) bool { return s == label })
		if err := checkLabel(other); err != nil || other == label {
			t.Errorf("%q beside %q: %v", other, label, err)
		}
	})
}
