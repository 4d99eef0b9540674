package mesh

import (
	"net/netip"
	"time"

	"meshd/deploy/lab"
)

// Public addresses of the world.
var (
	HubAddr    = netip.MustParseAddr("203.0.113.1")
	HomeAAddr  = netip.MustParseAddr("198.51.100.10")
	HomeBAddr  = netip.MustParseAddr("198.51.100.20")
	OfficeAddr = netip.MustParseAddr("198.51.100.30")
	HotelAddr  = netip.MustParseAddr("198.51.100.40")
)

// World is a hub and four sites that all use 192.168.1.0/24:
//
//	hub      203.0.113.1     1 ms from the core
//	home-a   198.51.100.10   10 ms, Linux NAT              laptop
//	home-b   198.51.100.20   10 ms, Linux NAT              nas
//	office   198.51.100.30   10 ms, symmetric NAT          desk
//	hotel    198.51.100.40   10 ms, only TCP 443 gets out  tablet
type World struct {
	Lab   *lab.Lab
	Hub   *Hub
	Sites map[string]*lab.Site
	// Laptop and Nas are behind NATs that can be crossed, Desk behind one that
	// is harder, Tablet behind a gateway that blocks UDP.
	Laptop, Nas, Desk, Tablet *Agent
}

// Agents lists the members in the order in which they join.
func (w *World) Agents() []*Agent { return []*Agent{w.Laptop, w.Nas, w.Desk, w.Tablet} }

// NewWorld builds the world for a meshd binary. Nothing of meshd runs yet.
// Links of no delay at all are fast enough to measure throughput over.
func NewWorld(bin string, oneWay time.Duration) (*World, error) {
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	w := &World{Lab: l, Sites: make(map[string]*lab.Site)}
	if err := w.build(bin, oneWay); err != nil {
		l.Close()
		return nil, err
	}
	return w, nil
}

func (w *World) build(bin string, oneWay time.Duration) error {
	hub, err := w.Lab.Public("hub", lab.Delay{OneWay: oneWay / 10}, HubAddr)
	if err != nil {
		return err
	}
	w.Hub = NewHub(hub, bin)
	for _, s := range []struct {
		site   string
		public netip.Addr
		nat    lab.NAT
		only   string
		host   string
		agent  **Agent
	}{
		{"home-a", HomeAAddr, lab.PortRestricted, "", "laptop", &w.Laptop},
		{"home-b", HomeBAddr, lab.PortRestricted, "", "nas", &w.Nas},
		{"office", OfficeAddr, lab.Symmetric, "", "desk", &w.Desk},
		{"hotel", HotelAddr, lab.PortRestricted, "tcp dport 443", "tablet", &w.Tablet},
	} {
		site, err := w.Lab.Site(s.site, lab.Gateway{
			Public: s.public,
			LAN:    netip.MustParsePrefix("192.168.1.0/24"),
			NAT:    s.nat,
			Only:   s.only,
			Link:   lab.Delay{OneWay: oneWay},
		})
		if err != nil {
			return err
		}
		w.Sites[s.site] = site
		host, err := site.Host(s.host)
		if err != nil {
			return err
		}
		*s.agent = NewAgent(host, bin)
	}
	return nil
}

// Close ends the world and everything that runs in it.
func (w *World) Close() error { return w.Lab.Close() }
