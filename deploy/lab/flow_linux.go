package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
)

// Flow names the packets between two public addresses that passed the core, one way.
type Flow struct {
	From, To netip.Addr
}

// Reverse is the other way.
func (f Flow) Reverse() Flow { return Flow{f.To, f.From} }

// Count is what the core has seen of a flow.
type Count struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Flows returns what passed the core since the lab was made, all protocols added up.
func (l *Lab) Flows() (map[Flow]Count, error) { return l.FlowsOf("") }

// FlowsOf returns what passed by one protocol: "udp", "tcp", "icmp", or any if empty.
func (l *Lab) FlowsOf(proto string) (map[Flow]Count, error) {
	flows := make(map[Flow]Count)
	for _, family := range []string{"ip", "ip6"} {
		out, err := l.core.Run(context.Background(), "nft", "-j", "list", "set", family, "core", "flows")
		if err != nil {
			return nil, err
		}
		if err := parseFlows(flows, []byte(out), proto); err != nil {
			return nil, err
		}
	}
	return flows, nil
}

// parseFlows adds to flows what nft's JSON says: {"nftables": [..., {"set": {"elem": [{"elem":
// {"val": {"concat": [from, proto, to]}, "counter": {...}}}, ...]}}]}.
func parseFlows(flows map[Flow]Count, b []byte, proto string) error {
	var doc struct {
		Nftables []struct {
			Set struct {
				Elem []struct {
					Elem struct {
						Val struct {
							Concat []any `json:"concat"`
						} `json:"val"`
						Counter Count `json:"counter"`
					} `json:"elem"`
				} `json:"elem"`
			} `json:"set"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return fmt.Errorf("read the core's counters: %w", err)
	}
	for _, o := range doc.Nftables {
		for _, e := range o.Set.Elem {
			c := e.Elem.Val.Concat
			if len(c) != 3 {
				return fmt.Errorf("read the core's counters: flow %v has %d parts, not 3", c, len(c))
			}
			from, err1 := netip.ParseAddr(fmt.Sprint(c[0]))
			to, err2 := netip.ParseAddr(fmt.Sprint(c[2]))
			if err1 != nil || err2 != nil {
				return fmt.Errorf("read the core's counters: flow %v has no addresses", c)
			}
			if proto != "" && proto != fmt.Sprint(c[1]) {
				continue
			}
			f := Flow{from, to}
			n := flows[f]
			flows[f] = Count{n.Packets + e.Elem.Counter.Packets, n.Bytes + e.Elem.Counter.Bytes}
		}
	}
	return nil
}

// Cut makes the core drop everything between two public addresses, both ways.
func (l *Lab) Cut(a, b netip.Addr) error { return l.core.Shell(cutScript("add", a, b)) }

// Heal undoes Cut.
func (l *Lab) Heal(a, b netip.Addr) error { return l.core.Shell(cutScript("delete", a, b)) }

func cutScript(verb string, a, b netip.Addr) string {
	return fmt.Sprintf("nft %s element %s core cut { %s . %s, %[4]s . %[3]s }", verb, family(a), a, b)
}

// Drop makes the core drop IPv4 packets that an nftables match describes, for good.
func (l *Lab) Drop(match string) error {
	return l.core.Shell(fmt.Sprintf("nft insert rule ip core forward '%s drop'", match))
}

// family is what nftables calls the family of an address.
func family(a netip.Addr) string {
	if a.Is4() {
		return "ip"
	}
	return "ip6"
}
