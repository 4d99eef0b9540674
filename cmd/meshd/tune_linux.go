package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// forgetStart unmaps the pages of this program's file. Those that only starting
// took are most of them, and the rest are mapped again as they are used, from the
// system's cache. It costs a millisecond, and changes nothing if it fails.
func forgetStart() {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	for _, m := range pristine(maps, exe) {
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, m.start, m.end-m.start, syscall.MADV_DONTNEED)
	}
}

// stretch is a range of addresses.
type stretch struct{ start, end uintptr }

// pristine finds, in what the system says of our memory (proc_pid_smaps(5)), the
// mappings of file that hold what the file holds: they are not written to, and no
// page was changed before that, as by a loader. Others would lose what they hold.
func pristine(maps []byte, file string) []stretch {
	var all []stretch
	var cur stretch // not of file: empty
	for line := range bytes.Lines(maps) {
		text := strings.TrimSuffix(string(line), "\n")
		var s stretch
		var perms string
		if n, _ := fmt.Sscanf(text, "%x-%x %s", &s.start, &s.end, &perms); n == 3 {
			cur = stretch{}
			// address perms offset dev inode path; the path is padded, and may hold spaces.
			if f := strings.SplitN(text, " ", 6); len(f) == 6 && strings.TrimLeft(f[5], " ") == file && !strings.Contains(perms, "w") {
				cur = s
			}
			continue
		}
		if cur != (stretch{}) && strings.HasPrefix(text, "Anonymous:") {
			if strings.TrimSpace(strings.TrimPrefix(text, "Anonymous:")) == "0 kB" {
				all = append(all, cur)
			}
		}
	}
	return all
}
