package main

import (
	"net/netip"
	"time"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
	"meshd/punch/nattest"
)

// kind is a way to be connected: a row and a column of the grid.
type kind struct {
	name string
	// gateway is the NAT of the home's kernel, translate those of this process,
	// from the home outwards. With neither the host is public.
	gateway   lab.NAT
	translate []nattest.NAT
}

// kinds are in the order of the rows of [wanted].
var kinds = []kind{
	{"public", "", nil},
	{"full cone", "", one(nattest.FullCone)},
	{"restricted", "", one(nattest.RestrictedCone)},
	{"port-restricted", "", one(nattest.PortRestricted)},
	{"linux", lab.PortRestricted, nil},
	{"per address", "", one(nattest.AddressSymmetric)},
	{"preserving", "", one(nattest.SymmetricPreserving)},
	{"step +1", "", one(nattest.SymmetricSequential(1))},
	{"step +2", "", one(nattest.SymmetricSequential(2))},
	{"step -1", "", one(nattest.SymmetricSequential(-1))},
	{"random", "", one(nattest.Symmetric)},
	{"block", "", one(nattest.SymmetricBlock)},
	{"carrier", lab.PortRestricted, one(nattest.Carrier)},
	{"carrier block", lab.PortRestricted, one(nattest.CarrierSymmetric)},
	{"no UDP", "", one(nattest.Blocked)},
}

func one(n nattest.NAT) []nattest.NAT { return []nattest.NAT{n} }

// The links of every pair's internet. An access is long enough for the low time to
// live of an opener to end on it, as it does in life.
var (
	access  = lab.Delay{OneWay: 10 * time.Millisecond, Hops: 2}
	hubLink = lab.Delay{OneWay: time.Millisecond}
)

// How long a packet takes from one of a pair to the other.
var (
	byHubOneWay    = 2 * (access.OneWay + hubLink.OneWay)
	straightOneWay = 2 * access.OneWay
)

// place puts a host of this kind on an internet, and returns the link that joins
// it to the core.
func (k kind) place(l *lab.Lab, name string, public netip.Addr, bin string) (*mesh.Agent, *lab.Link, error) {
	if k.gateway == "" && len(k.translate) == 0 {
		host, err := l.Public(name, access, public)
		if err != nil {
			return nil, nil, err
		}
		return mesh.NewAgent(host, bin), host.Link(), nil
	}
	site, err := l.Site(name+"-home", lab.Gateway{
		Public:    public,
		LAN:       netip.MustParsePrefix("192.168.1.0/24"),
		NAT:       k.gateway,
		Translate: k.translate,
		Link:      access,
	})
	if err != nil {
		return nil, nil, err
	}
	host, err := site.Host(name)
	if err != nil {
		return nil, nil, err
	}
	return mesh.NewAgent(host, bin), site.Gateway.Link(), nil
}
