package coordinator

import (
	"fmt"
	"strings"
)

// maxLabel is the longest DNS label (RFC 1035 §2.3.4).
const maxLabel = 63

// nameless is the label of a host whose name has no usable character.
const nameless = "host"

// Label makes a DNS label of a host's name: its first part, in lower case, with
// a hyphen for all that is neither letter nor digit of ASCII (RFC 1123 §2.1).
func Label(hostname string) string {
	first, _, _ := strings.Cut(hostname, ".")
	label := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + ('a' - 'A')
		}
		return '-'
	}, first)
	label = strings.Trim(label, "-")
	if len(label) > maxLabel {
		label = strings.TrimRight(label[:maxLabel], "-")
	}
	if label == "" {
		return nameless
	}
	return label
}

// checkLabel says why name is no DNS label.
func checkLabel(name string) error {
	switch {
	case name == "":
		return invalid("a name may not be empty")
	case len(name) > maxLabel:
		return invalid("name %q has %d characters, more than %d", name, len(name), maxLabel)
	case strings.Contains(name, ".") || name != Label(name):
		return invalid("name %q is no DNS label: letters a-z, digits and hyphens, no hyphen at either end", name)
	}
	return nil
}

// uniqueLabel appends -2, -3 … to label until it is not taken.
func uniqueLabel(label string, taken func(string) bool) string {
	name := label
	for i := 2; taken(name); i++ {
		suffix := fmt.Sprintf("-%d", i)
		head := label[:min(len(label), maxLabel-len(suffix))]
		name = strings.TrimRight(head, "-") + suffix
	}
	return name
}
