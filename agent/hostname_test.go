package agent

import (
	"strings"
	"testing"
)

func TestCheckHostname(t *testing.T) {
	for _, test := range []struct{ name, says string }{
		{"nas", ""}, {"NAS-2", ""}, {"nas.example.org", ""}, {strings.Repeat("a", 63), ""}, {"xn--bcher-kva", ""},
		{strings.Repeat("a", 64), "64 bytes before its first dot, more than the 63"},
		{"bücher", `has 'ü' in it`}, {"my nas", "no DNS label"}, {"nas_1", "no DNS label"}, {"-nas", "no DNS label"}, {"nas-", "no DNS label"}, {".nas", "no DNS label"},
	} {
		err := CheckHostname(test.name)
		if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q: got %v, want %q", test.name, err, test.says)
		}
	}
}
