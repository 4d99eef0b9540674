package dnssd

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/miekg/dns"
)

// ZoneConfig says what a zone is about.
type ZoneConfig struct {
	Name     string         // of the mesh, e.g. meshd.internal
	Prefixes []netip.Prefix // overlay prefixes: their reverse zones are served too
	Server   []netip.Addr   // where the zone is answered: addresses of its name
}

// Zone is the table of a mesh's names. Changing it costs as much as the changed
// member has records; asking it takes no lock, but for the first question to a
// list after a change. Zones are safe for concurrent use.
type Zone struct {
	name   string
	apexes map[string]bool // the zone and its reverse zones, canonical
	names  sync.Map        // canonical name → *node
	serial atomic.Uint32

	mu      sync.Mutex // guards following, and all writing
	members map[string]*entry
}

// entry is a member and the names that were made of it.
type entry struct {
	member  Member
	records *records
}

// node is what stands at one name. Its records are replaced whole, so a reader
// never sees one member's change by halves.
type node struct {
	answer atomic.Pointer[answerSet] // nil: a list that changed since it was last asked

	// guarded by Zone.mu
	owner    *entry
	list     map[string]*dns.PTR // of a list that members share, by canonical target
	children int                 // names right below: more than none makes it exist (RFC 8020)
}

// answerSet is immutable.
type answerSet struct {
	member  string // whose name it is; empty: the zone's
	records []dns.RR
}

var nothing = &answerSet{}

// NewZone makes a zone without members.
func NewZone(c ZoneConfig) (*Zone, error) {
	name := canonical(c.Name)
	if _, ok := dns.IsDomainName(name); !ok || name == "." {
		return nil, fmt.Errorf("zone %q is no domain name", c.Name)
	}
	z := &Zone{name: name, apexes: map[string]bool{name: true}, members: map[string]*entry{}}
	z.serial.Store(1)
	for _, p := range c.Prefixes {
		for _, zone := range reverseZones(p) {
			z.apexes[zone] = true
		}
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	for apex := range z.apexes {
		records := []dns.RR{&dns.NS{Hdr: header(apex, dns.TypeNS, ttlName), Ns: name}}
		if apex == name {
			for _, a := range c.Server {
				records = append(records, address(name, ttlName, a))
			}
		}
		z.ensure(apex).answer.Store(&answerSet{records: records})
	}
	for _, label := range []string{"b", "db", "lb"} { // domains to browse (RFC 6763 §11)
		set := label + "._dns-sd._udp." + name
		ptr := &dns.PTR{Hdr: header(set, dns.TypePTR, ttlName), Ptr: name}
		z.ensure(set).answer.Store(&answerSet{records: []dns.RR{ptr}})
	}
	return z, nil
}

// Name is the zone's name, absolute and in lower case.
func (z *Zone) Name() string { return z.name }

// Set adds a member or changes it. It fails, and changes nothing, when
// something of it can't be a record or belongs to another member.
func (z *Zone) Set(m Member) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.set(m)
}

// Remove takes a member and all of its names out.
func (z *Zone) Remove(name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.remove(strings.ToLower(name))
}

// Replace makes members the zone's only ones. Those that can't be set are left
// out and named by the error.
func (z *Zone) Replace(members []Member) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	stay := map[string]bool{}
	for _, m := range members {
		stay[strings.ToLower(m.Name)] = true
	}
	for name := range z.members {
		if !stay[name] {
			z.remove(name)
		}
	}
	var errs []error
	for _, m := range members {
		errs = append(errs, z.set(m))
	}
	return errors.Join(errs...)
}

// Member returns the member of this name.
func (z *Zone) Member(name string) (Member, bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if e := z.members[strings.ToLower(name)]; e != nil {
		return e.member, true
	}
	return Member{}, false
}

func (z *Zone) set(m Member) error {
	name := strings.ToLower(m.Name)
	e := z.members[name]
	if e != nil && e.member.equal(m) {
		return nil
	}
	r, err := z.records(m)
	if err != nil {
		return err
	}
	if err := z.claim(e, r); err != nil {
		return fmt.Errorf("member %s: %w", m.Name, err)
	}
	if e == nil {
		e = &entry{records: &records{}}
		z.members[name] = e
	}
	old := e.records
	e.member, e.records = m, r
	z.apply(e, old, r)
	z.serial.Add(1)
	return nil
}

func (z *Zone) remove(name string) {
	e := z.members[name]
	if e == nil {
		return
	}
	delete(z.members, name)
	z.apply(e, e.records, &records{})
	z.serial.Add(1)
}

// claim says whose name would be taken by r.
func (z *Zone) claim(e *entry, r *records) error {
	for name := range r.own {
		n := z.node(name)
		if n == nil || n.owner == e {
			continue
		}
		if n.owner != nil {
			return fmt.Errorf("name %s belongs to %s", name, n.owner.member.Name)
		}
		if n.list != nil || len(n.load().records) > 0 {
			return fmt.Errorf("name %s belongs to the zone", name)
		}
	}
	return nil
}

// apply turns the names of old into those of r. What is the same stays untouched.
func (z *Zone) apply(e *entry, old, r *records) {
	for name, set := range r.own {
		if slices.EqualFunc(old.own[name], set, same) {
			r.own[name] = old.own[name]
			continue
		}
		n := z.ensure(name)
		n.owner = e
		n.answer.Store(&answerSet{member: e.member.Name, records: set})
	}
	for _, ptr := range r.listed {
		z.enlist(ptr)
	}
	for name := range old.own {
		if _, stays := r.own[name]; !stays {
			n := z.node(name)
			n.owner = nil
			n.answer.Store(nothing)
			z.prune(name)
		}
	}
	for _, ptr := range old.listed {
		if !slices.ContainsFunc(r.listed, func(p *dns.PTR) bool { return dns.IsDuplicate(p, ptr) }) {
			z.delist(ptr)
		}
	}
}

// same reports whether two records are alike to the letter.
func same(a, b dns.RR) bool {
	return a.Header().Ttl == b.Header().Ttl && a.Header().Name == b.Header().Name && dns.IsDuplicate(a, b)
}

// enlist adds an entry to a list; the first one adds the list to the types.
func (z *Zone) enlist(ptr *dns.PTR) {
	name := canonical(ptr.Hdr.Name)
	n := z.ensure(name)
	if n.list == nil {
		n.list = map[string]*dns.PTR{}
	}
	target := canonical(ptr.Ptr)
	if old := n.list[target]; old != nil && old.Ptr == ptr.Ptr {
		return
	}
	n.list[target] = ptr
	n.answer.Store(nil)
	if types := typesName + "." + z.name; len(n.list) == 1 && name != types {
		z.enlist(&dns.PTR{Hdr: header(types, dns.TypePTR, ttlName), Ptr: name})
	}
}

func (z *Zone) delist(ptr *dns.PTR) {
	name := canonical(ptr.Hdr.Name)
	n := z.node(name)
	delete(n.list, canonical(ptr.Ptr))
	n.answer.Store(nil)
	if len(n.list) > 0 {
		return
	}
	n.list = nil
	if types := typesName + "." + z.name; name != types {
		z.delist(&dns.PTR{Hdr: header(types, dns.TypePTR, ttlName), Ptr: name})
	}
	z.prune(name)
}

func (z *Zone) node(name string) *node {
	if n, ok := z.names.Load(name); ok {
		return n.(*node)
	}
	return nil
}

// ensure makes the node of a name, and those above it up to the apex.
func (z *Zone) ensure(name string) *node {
	if n := z.node(name); n != nil {
		return n
	}
	n := new(node)
	n.answer.Store(nothing)
	z.names.Store(name, n)
	if !z.apexes[name] {
		z.ensure(parent(name)).children++
	}
	return n
}

// prune removes a name, and those above it, that nothing stands at or below.
func (z *Zone) prune(name string) {
	for !z.apexes[name] {
		n := z.node(name)
		if n.children > 0 || n.owner != nil || n.list != nil || n.answer.Load() != nil && len(n.answer.Load().records) > 0 {
			return
		}
		z.names.Delete(name)
		name = parent(name)
		z.node(name).children--
	}
}

// lookup returns what stands at a canonical name; false: it doesn't exist.
func (z *Zone) lookup(name string) (*answerSet, bool) {
	n := z.node(name)
	if n == nil {
		return nothing, false
	}
	if set := n.answer.Load(); set != nil {
		return set, true
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	return n.load(), true
}

// load sorts a list that changed. z.mu is held.
func (n *node) load() *answerSet {
	if set := n.answer.Load(); set != nil {
		return set
	}
	set := &answerSet{records: make([]dns.RR, 0, len(n.list))}
	for _, target := range slices.Sorted(maps.Keys(n.list)) {
		set.records = append(set.records, n.list[target])
	}
	n.answer.Store(set)
	return set
}

// apex is the zone that a canonical name is in; empty: none of ours.
func (z *Zone) apex(name string) string {
	for {
		if z.apexes[name] {
			return name
		}
		if name == "." || name == "" {
			return ""
		}
		name = parent(name)
	}
}

func (z *Zone) peerName(key [32]byte) string {
	return InstanceLabel(key) + "." + wireguardType + "." + z.name
}

func (z *Zone) soa(apex string) *dns.SOA {
	return &dns.SOA{
		Hdr: header(apex, dns.TypeSOA, ttlNegative), Ns: z.name, Mbox: "hostmaster." + z.name,
		Serial: z.serial.Load(), Refresh: 60, Retry: 30, Expire: 86400, Minttl: ttlNegative,
	}
}
