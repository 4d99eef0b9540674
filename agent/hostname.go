package agent

import (
	"fmt"
	"strings"

	"meshd/agent/localapi"
)

// maxLabel is the longest part of a DNS name, in bytes (RFC 1035 §2.3.4).
const maxLabel = 63

// CheckHostname says why a wished name can't be one of the mesh's. Of a name with
// dots the first part is taken.
func CheckHostname(name string) error {
	label, _, _ := strings.Cut(name, ".")
	for _, r := range label {
		if r >= 0x80 {
			return localapi.WithHint(fmt.Errorf("hostname %q has %q in it: names of the mesh are of letters a-z, digits and hyphens", name, r),
				"give an international name in its ASCII form, which begins with xn--")
		}
	}
	switch n := len(label); {
	case n > maxLabel:
		return localapi.WithHint(fmt.Errorf("hostname %q has %d bytes before its first dot, more than the %d that DNS allows", name, n, maxLabel), "give a shorter one")
	case !isLabel(label):
		return localapi.WithHint(fmt.Errorf("hostname %q is no DNS label", name), "use letters a-z, digits and hyphens, and no hyphen at either end")
	}
	return nil
}

// isLabel reports whether s is a label of a host's name (RFC 1123 §2.1): such names
// get into files and onto terminals as they are.
func isLabel(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
	return s != "" && len(s) <= maxLabel && s[0] != '-' && s[len(s)-1] != '-' && strings.Trim(s, letters) == ""
}

// checkZone says why zone can't be that of a mesh.
func checkZone(zone string) error {
	for label := range strings.SplitSeq(strings.TrimSuffix(zone, "."), ".") {
		if !isLabel(label) {
			return fmt.Errorf("zone %q is no domain of letters, digits and hyphens", zone)
		}
	}
	return nil
}
