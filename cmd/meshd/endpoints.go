package main

import (
	"net/netip"
	"slices"
	"strings"

	"meshd/agent"
)

// noEndpoints takes back what was advertised.
const noEndpoints = "none"

// endpoints is a flag: where this machine is reached from outside. Nil means that
// nothing was said; empty, that there are none.
type endpoints []netip.AddrPort

func (e *endpoints) String() string {
	switch {
	case *e == nil:
		return ""
	case len(*e) == 0:
		return noEndpoints
	}
	words := make([]string, len(*e))
	for i, a := range *e {
		words[i] = a.String()
	}
	return strings.Join(words, ",")
}

// Set implements [pflag.Value].
func (e *endpoints) Set(s string) error {
	if s == noEndpoints {
		*e = endpoints{}
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		addr, err := agent.ParseEndpoint(strings.TrimSpace(part))
		if err != nil {
			return err
		}
		if !slices.Contains(*e, addr) {
			*e = append(*e, addr)
		}
	}
	return nil
}

// Type implements [pflag.Value].
func (e *endpoints) Type() string { return "endpoints" }
