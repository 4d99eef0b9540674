package netcfg

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// home is a mesh of two.
var home = Names{Zone: "home.internal", Hosts: []HostName{
	{"nas", []netip.Addr{netip.MustParseAddr("100.96.0.2"), netip.MustParseAddr("fd00::2")}},
	{"laptop", []netip.Addr{netip.MustParseAddr("100.96.0.1")}},
}}

const homeLines = `100.96.0.1	laptop.home.internal laptop # meshd home
100.96.0.2	nas.home.internal nas # meshd home
fd00::2	nas.home.internal nas # meshd home
`

func TestHostLines(t *testing.T) {
	for _, test := range []struct{ rest, want string }{
		{"", homeLines},
		{"127.0.0.1 localhost\n# 1.2.3.4 nas\n", homeLines},
		{"192.168.1.7 NAS\n", strings.ReplaceAll(homeLines, "internal nas #", "internal #")},
		{"127.0.1.1\tdesk laptop # mine\n", strings.ReplaceAll(homeLines, "internal laptop #", "internal #")},
	} {
		if got := strings.Join(hostLines([]byte(test.rest), "home", home), "\n") + "\n"; got != test.want {
			t.Errorf("beside %q: got\n%s\nwant\n%s", test.rest, got, test.want)
		}
	}
	if got := hostLines(nil, "home", Names{Zone: "home.internal", Hosts: []HostName{{"localhost", home.Hosts[0].Addresses[:1]}}}); !slices.Equal(got, []string{"100.96.0.2\tlocalhost.home.internal # meshd home"}) {
		t.Errorf("a member named localhost: got %q", got)
	}
}

const (
	begin  = "# meshd home begin: written by meshd, which also takes it out\n"
	begin2 = "# meshd home begin: written by meshd, which also takes it out, and the newline before\n"
	end    = "# meshd home end\n"
	line   = "100.96.0.1\tlaptop.home.internal laptop # meshd home\n"
	other  = "# meshd work begin: written by meshd, which also takes it out\n100.97.0.1\tpc.work.internal pc # meshd work\n# meshd work end\n"
)

func TestHostsBlock(t *testing.T) {
	lines := []string{strings.TrimSuffix(line, "\n")}
	for _, test := range []struct{ name, file, with, without string }{
		{"empty", "", begin + line + end, ""},
		{"common", "127.0.0.1 localhost\n", "127.0.0.1 localhost\n" + begin + line + end, "127.0.0.1 localhost\n"},
		{"no newline at the end", "127.0.0.1 localhost", "127.0.0.1 localhost\n" + begin2 + line + end, "127.0.0.1 localhost"},
		{"Windows's ends of lines", "::1 a\r\n::2 b", "::1 a\r\n::2 b\n" + begin2 + line + end, "::1 a\r\n::2 b"},
		{"old block amid", "::1 a\n" + begin + "old # meshd home\n" + end + "::2 b\n", "::1 a\n" + begin + line + end + "::2 b\n", "::1 a\n::2 b\n"},
		{"another mesh", other, other + begin + line + end, other},
		{"written behind", "::1 a\n" + begin2 + line + end + "::2 b", "::1 a\n" + begin + line + end + "::2 b", "::1 a\n::2 b"},
		{"end missing", begin + line + "100.96.0.9\tmine\n", begin + line + end + "100.96.0.9\tmine\n", "100.96.0.9\tmine\n"},
		{"begin twice", begin + line + "::1 a\n" + begin + line + end + "::2 b\n", begin + line + end + "::1 a\n::2 b\n", "::1 a\n::2 b\n"},
		{"begin missing", line + end, line + end + begin + line + end, line + end},
		{"somebody's words", "# meshd home beginnings\n::1 a\n# meshd home ending\n", "# meshd home beginnings\n::1 a\n# meshd home ending\n" + begin + line + end, "# meshd home beginnings\n::1 a\n# meshd home ending\n"},
	} {
		if got := string(withBlock([]byte(test.file), "home", lines)); got != test.with {
			t.Errorf("%s: got with a block\n%s\nwant\n%s", test.name, got, test.with)
		}
		if got := string(withBlock([]byte(test.file), "home", nil)); got != test.without {
			t.Errorf("%s: got without a block\n%s\nwant\n%s", test.name, got, test.without)
		}
	}
}

func FuzzHostsBlock(f *testing.F) {
	for _, s := range []string{"", "127.0.0.1 localhost\n", "::1 a", begin + line + end, begin + line, other, "::1 a\n" + begin2 + line + end + "x", "\r\n\x00", end + begin} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		before := bytes.Clone(file)
		rest, _ := withoutBlock(file, "home")
		with := withBlock(rest, "home", hostLines(rest, "home", home))
		if again := withBlock(with, "home", hostLines(rest, "home", home)); !bytes.Equal(again, with) {
			t.Errorf("writing twice: got %q, want %q", again, with)
		}
		if back := withBlock(with, "home", nil); !bytes.Equal(back, rest) {
			t.Errorf("others' content: got %q, want %q", back, rest)
		}
		alone, _ := withoutBlock(rest, "work")
		both := withBlock(withBlock(alone, "home", []string{line}), "work", []string{"::9\tpc # meshd work"})
		for _, order := range [][2]string{{"home", "work"}, {"work", "home"}} {
			if got := withBlock(withBlock(both, order[0], nil), order[1], nil); !bytes.Equal(got, alone) {
				t.Errorf("two meshes, %s leaves first: got %q, want %q", order[0], got, alone)
			}
		}
		if !bytes.Equal(file, before) {
			t.Error("the content given was changed")
		}
	})
}
