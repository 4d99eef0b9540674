package api

import (
	"fmt"
	"strconv"
	"strings"

	meshdv1 "meshd/coordinator/api/meshd/v1"
)

// Traits is how a member is to be dealt with, as "key=value" strings of the text
// record that holds its candidates:
//
//	mapping=endpoint-independent             RFC 4787 §4.1
//	filtering=address-and-port-dependent     RFC 4787 §5
//	allocation=sequential                    of ports to mappings
//	delta=2                                  step of a sequential allocation
//	ports=1024-65535                         bounds of a random allocation
//	relay=1                                  it relays for others, at its endpoints
//
// What is unknown is left out.
func Traits(nat *meshdv1.Nat, relay bool) []string {
	var list []string
	add := func(key, value string) {
		if value != "" && value != "0" {
			list = append(list, key+"="+value)
		}
	}
	add("mapping", nat.GetMapping())
	add("filtering", nat.GetFiltering())
	add("allocation", nat.GetAllocation())
	add("delta", strconv.Itoa(int(nat.GetDelta())))
	if nat.GetHigh() != 0 {
		add("ports", fmt.Sprintf("%d-%d", nat.GetLow(), nat.GetHigh()))
	}
	if relay {
		add("relay", "1")
	}
	return list
}

// ParseTraits is the inverse of [Traits]. Keys that it does not know are passed
// over, as a later version may have more; whether the words are known, it leaves
// to the reader.
func ParseTraits(list []string) (nat *meshdv1.Nat, relay bool, err error) {
	nat = &meshdv1.Nat{}
	for _, s := range list {
		key, value, _ := strings.Cut(s, "=")
		switch key {
		case "mapping":
			nat.Mapping = value
		case "filtering":
			nat.Filtering = value
		case "allocation":
			nat.Allocation = value
		case "delta":
			err = parseDelta(nat, value)
		case "ports":
			err = parsePorts(nat, value)
		case "relay":
			relay = value == "1"
		}
		if err != nil {
			return nil, false, fmt.Errorf("trait %q: %w", s, err)
		}
	}
	return nat, relay, nil
}

func parseDelta(nat *meshdv1.Nat, value string) error {
	n, err := strconv.ParseInt(value, 10, 16)
	nat.Delta = int32(n)
	return err
}

func parsePorts(nat *meshdv1.Nat, value string) error {
	first, last, _ := strings.Cut(value, "-")
	low, err := strconv.ParseUint(first, 10, 16)
	if err != nil {
		return err
	}
	high, err := strconv.ParseUint(last, 10, 16)
	nat.Low, nat.High = uint32(low), uint32(high)
	return err
}
