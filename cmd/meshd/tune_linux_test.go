package main

import (
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

const someMaps = `00400000-00f18000 r-xp 00000000 fe:00 9986150                            /opt/my mesh/meshd
Rss:                9312 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
00f18000-01ada000 r--p 00b18000 fe:00 9986150                            /opt/my mesh/meshd
Anonymous:             0 kB
01ada000-01adb000 r--p 016da000 fe:00 9986150                            /opt/my mesh/meshd
Anonymous:             4 kB
01adb000-01b5d000 rw-p 016db000 fe:00 9986150                            /opt/my mesh/meshd
Anonymous:             0 kB
01b5d000-03ba8000 rw-p 00000000 00:00 0
Anonymous:           180 kB
7f2df5c40000-7f2df5c80000 r--p 00000000 fe:00 1234                       /lib/libc.so.6
Anonymous:             0 kB
7f2df5c80000-7f2df5c90000 r--p 00000000 00:00 0                          [vvar]
Anonymous:             0 kB
`

// What is writable, was changed, or is of another file is left alone.
func TestPristine(t *testing.T) {
	want := []stretch{{0x400000, 0xf18000}, {0xf18000, 0x1ada000}}
	if got := pristine([]byte(someMaps), "/opt/my mesh/meshd"); !reflect.DeepEqual(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	if got := pristine([]byte(someMaps), "/opt/other"); got != nil {
		t.Errorf("%x are of another program", got)
	}
}

// The program goes on as before, with less of its file in memory.
func TestForgetStart(t *testing.T) {
	before := residentFile(t)
	forgetStart()
	if after := residentFile(t); after >= before {
		t.Errorf("%d kB of files resident, %d kB before", after, before)
	}
}

// residentFile is how much of files this process has in memory, in kB.
func residentFile(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "RssFile:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
