package api

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample is a join string whose code is
// pin 00 01 … 0f, secret 10 11 … 1f and their checksum.
func sample(port uint16, hosts ...string) JoinString {
	j := JoinString{Hosts: hosts, Port: port}
	for i := range 16 {
		j.Pin[i], j.Secret[i] = byte(i), byte(16+i)
	}
	return j
}

const sampleCode = "aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypswrvzka"

func TestJoinString(t *testing.T) {
	tests := []struct {
		join JoinString
		text string
	}{
		{sample(443, "hub.example"), "meshd1:hub.example/" + sampleCode},
		{sample(8443, "hub.example"), "meshd1:hub.example:8443/" + sampleCode},
		{sample(443, "203.0.113.1"), "meshd1:203.0.113.1/" + sampleCode},
		{sample(443, "2001:db8::1"), "meshd1:[2001:db8::1]/" + sampleCode},
		{sample(1, "a", "203.0.113.1", "2001:db8::1"), "meshd1:a,203.0.113.1,[2001:db8::1]:1/" + sampleCode},
		{sample(443, "my_hub.xn--bcher-kva.example"), "meshd1:my_hub.xn--bcher-kva.example/" + sampleCode},
	}
	for _, tt := range tests {
		if got := tt.join.String(); got != tt.text {
			t.Errorf("String() = %s\n           want %s", got, tt.text)
		}
		for _, text := range []string{tt.text, strings.ToUpper(tt.text), " " + tt.text + "\n"} {
			got, err := ParseJoin(text)
			if diff := cmp.Diff(got, tt.join); err != nil || diff != "" {
				t.Errorf("ParseJoin(%q): %v\n%s", text, err, diff)
			}
		}
	}
}

func TestParseJoinRefuses(t *testing.T) {
	hub := func(code string) string { return "meshd1:hub.example/" + code }
	tests := []struct{ in, want string }{
		{"", "join string is empty"},
		{" \n", "join string is empty"},
		{"hello", `"hello" is no join string: it must begin with "meshd1:"`},
		{"https://hub.example/a/very/long/path", `"https://hub.example/a/ve…" is no join string: it must begin with "meshd1:"`},
		{"meshd", `"meshd" is no join string: it must begin with "meshd1:"`},
		{"meshd2:hub.example/xyz", "join string has version 2: this meshd knows version 1 only"},
		{"meshd1:hub.example", `join string "meshd1:hub.example" is cut short: nothing after the host`},
		{"meshd1:/" + sampleCode, "join string: no host is named"},
		{"meshd1::443/" + sampleCode, "join string: no host is named"},
		{"meshd1:a,,b/" + sampleCode, "join string: a host is empty"},
		{"meshd1:hub.example:/" + sampleCode, `join string: port "" of "hub.example:": want 1 to 65535`},
		{"meshd1:hub.example:0/" + sampleCode, `join string: port "0" of "hub.example:0": want 1 to 65535`},
		{"meshd1:hub.example:70000/" + sampleCode, `join string: port "70000" of "hub.example:70000": want 1 to 65535`},
		{"meshd1:203.0.113.256/" + sampleCode, `join string: host "203.0.113.256" is neither a DNS name nor an IP address`},
		{"meshd1:[203.0.113.1]/" + sampleCode, `join string: host "[203.0.113.1]" is neither a DNS name nor an IP address`},
		{"meshd1:[2001:db8::1/" + sampleCode, `join string: host "[2001:db8:" is neither a DNS name nor an IP address`},
		{"meshd1:2001:db8::a/" + sampleCode, `join string: port "a" of "2001:db8::a": want 1 to 65535`},
		{"meshd1:[fe80::1%eth0]/" + sampleCode, `join string: host "[fe80::1%eth0]": a zone has no meaning on another machine`},
		{"meshd1:höb.example/" + sampleCode, `join string: host "höb.example" is neither a DNS name nor an IP address`},
		{"meshd1:-a.example/" + sampleCode, `join string: host "-a.example" is neither a DNS name nor an IP address`},
		{hub(""), "join string for hub.example is cut short (0 of 58 characters after the slash)"},
		{hub(sampleCode[:57]), "join string for hub.example is cut short (57 of 58 characters after the slash)"},
		{hub(sampleCode + "a"), "join string for hub.example is too long (59 characters after the slash, not 58)"},
		{hub(sampleCode + "."), `join string for hub.example has a bad character '.' at position 78`},
		{hub("a0" + sampleCode[2:]), `join string for hub.example has a bad character '0' at position 21`},
		{hub("é" + sampleCode), `join string for hub.example has a bad character 'é' at position 20`},
		{hub("b" + sampleCode[1:]), "join string for hub.example has a wrong checksum: a character was changed on its way"},
		{hub(sampleCode[:57] + "b"), "join string for hub.example has a wrong checksum: a character was changed on its way"},
	}
	for _, tt := range tests {
		if got, err := ParseJoin(tt.in); err == nil || err.Error() != tt.want {
			t.Errorf("ParseJoin(%q) = %#v\n got error %v\nwant error %s", tt.in, got, err, tt.want)
		}
	}
}

func TestErrorsKeepTheSecret(t *testing.T) {
	whole := sample(443, "h").String()
	for cut := range len(whole) {
		_, err := ParseJoin(whole[:cut])
		if err != nil && strings.Contains(err.Error(), sampleCode[26:36]) {
			t.Errorf("ParseJoin of %d characters: %v", cut, err)
		}
	}
}

func FuzzParseJoin(f *testing.F) {
	f.Add(sample(443, "hub.example").String())
	f.Add(sample(8443, "a", "203.0.113.1", "2001:db8::1").String())
	f.Add("meshd1:[::ffff:1.2.3.4],A:65535/" + strings.ToUpper(sampleCode))
	f.Add("meshd1:hub.example/" + sampleCode[:57] + "b")
	f.Add("meshd2:x/y")
	f.Fuzz(func(t *testing.T, s string) {
		j, err := ParseJoin(s)
		if err != nil {
			return
		}
		again, err := ParseJoin(j.String())
		if diff := cmp.Diff(again, j); err != nil || diff != "" {
			t.Errorf("%q became %q: %v\n%s", s, j, err, diff)
		}
	})
}

func TestPinText(t *testing.T) {
	pin := sample(443, "h").Pin
	const text = "aaaq-eaye-auda-ocaj-bifq-ydio-b4"
	if got := pin.String(); got != text {
		t.Errorf("String() = %s, want %s", got, text)
	}
	for _, s := range []string{text, strings.ToUpper(text), strings.ReplaceAll(text, "-", "")} {
		if got, err := ParsePin(s); err != nil || got != pin {
			t.Errorf("ParsePin(%q) = %s, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "aaaq", text + "a", "0" + text[1:]} {
		if got, err := ParsePin(s); err == nil {
			t.Errorf("ParsePin(%q) = %s, want an error", s, got)
		}
	}
}
