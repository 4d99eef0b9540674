package filter

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Proto is what a rule is about.
type Proto uint8

// Protocols by their number in IP. ICMP stands for ICMPv6, too.
const (
	ICMP Proto = 1
	TCP  Proto = 6
	UDP  Proto = 17

	icmp6 = 58
)

func (p Proto) String() string {
	switch p {
	case ICMP:
		return "icmp"
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return "protocol " + strconv.Itoa(int(p))
}

// Rule lets one kind of thing begin.
type Rule struct {
	Proto       Proto
	First, Last uint16 // destination ports; both 0 for ICMP
}

// String is what [Parse] reads.
func (r Rule) String() string {
	switch {
	case r.Proto == ICMP:
		return r.Proto.String()
	case r.First == r.Last:
		return fmt.Sprintf("%v/%d", r.Proto, r.First)
	}
	return fmt.Sprintf("%v/%d-%d", r.Proto, r.First, r.Last)
}

// Rules are what may begin. Nil lets everything in; not nil and empty, nothing
// that begins.
type Rules []Rule

// The words for rules that have none of their own.
const (
	wordAll  = "all"
	wordNone = "none"
)

// Syntax says what [Parse] reads.
const Syntax = "all, none, or what may be begun with commas between: tcp/22, udp/60000-61000, icmp"

// Parse reads rules: "all", "none", or a list such as "tcp/22,udp/60000-61000,icmp".
// They come out in order, each once. An error names the part that is wrong.
func Parse(s string) (Rules, error) {
	switch s {
	case wordAll:
		return nil, nil
	case wordNone:
		return Rules{}, nil
	}
	var rules Rules
	for part := range strings.SplitSeq(s, ",") {
		r, err := parseRule(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	slices.SortFunc(rules, func(a, b Rule) int {
		return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
	})
	return slices.Compact(rules), nil
}

func parseRule(s string) (Rule, error) {
	name, ports, hasPorts := strings.Cut(s, "/")
	for _, p := range []Proto{TCP, UDP} {
		if name == p.String() {
			first, last, ok := parsePorts(ports)
			if !ok {
				return Rule{}, fmt.Errorf("%q names no port from 1 to 65535, nor a range of them", s)
			}
			return Rule{p, first, last}, nil
		}
	}
	if name == ICMP.String() && !hasPorts {
		return Rule{Proto: ICMP}, nil
	}
	return Rule{}, fmt.Errorf("%q is nothing that can be begun", s)
}

func parsePorts(s string) (first, last uint16, ok bool) {
	low, high, isRange := strings.Cut(s, "-")
	if !isRange {
		high = low
	}
	a, errA := strconv.ParseUint(low, 10, 16)
	b, errB := strconv.ParseUint(high, 10, 16)
	return uint16(a), uint16(b), errA == nil && errB == nil && 0 < a && a <= b
}

// String is what [Parse] reads.
func (rs Rules) String() string {
	switch {
	case rs == nil:
		return wordAll
	case len(rs) == 0:
		return wordNone
	}
	words := make([]string, len(rs))
	for i, r := range rs {
		words[i] = r.String()
	}
	return strings.Join(words, ",")
}

// let reports whether there is a rule for what begins at a port.
func (rs Rules) let(p Proto, port uint16) bool {
	return slices.ContainsFunc(rs, func(r Rule) bool { return r.Proto == p && r.First <= port && port <= r.Last })
}
