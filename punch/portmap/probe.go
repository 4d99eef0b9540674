package portmap

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
)

// Report says by which protocols mappings could be had.
type Report struct {
	Answers []Answer // each gateway's protocols, best first
}

// Answer is how a gateway answered to a protocol.
type Answer struct {
	Gateway  netip.Addr
	Protocol Protocol
	Err      error // why it can't be had; nil: the gateway speaks it
}

// Available lists the protocols that some gateway speaks, best first.
func (r Report) Available() []Protocol {
	var list []Protocol
	for _, a := range r.Answers {
		if a.Err == nil && !slices.Contains(list, a.Protocol) {
			list = append(list, a.Protocol)
		}
	}
	slices.Sort(list)
	return list
}

// Probe looks for the protocols without asking for a mapping. It takes three
// seconds where a gateway is silent, or until ctx ends, and can be called
// whether or not Run runs. The error says why the gateways are not known.
func (m *Mapper) Probe(ctx context.Context) (Report, error) {
	list, err := m.config.Gateways()
	if err != nil {
		return Report{}, fmt.Errorf("find the gateways: %w", err)
	}
	var mu sync.Mutex // guards report
	var report Report
	var wg sync.WaitGroup
	for _, g := range list {
		if !g.valid() {
			continue
		}
		for p, c := range m.config.target(g).clients() {
			wg.Go(func() {
				a := Answer{g.Addr, p, probe(ctx, p, c)}
				mu.Lock()
				defer mu.Unlock()
				report.Answers = append(report.Answers, a)
			})
		}
	}
	wg.Wait()
	slices.SortFunc(report.Answers, func(a, b Answer) int {
		return cmp.Or(a.Gateway.Compare(b.Gateway), cmp.Compare(a.Protocol, b.Protocol))
	})
	return report, nil
}
