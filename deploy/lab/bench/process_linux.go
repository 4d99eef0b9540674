package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc: USER_HZ is 100 on every Linux.
const tick = 10 * time.Millisecond

// cpuTime is the CPU time that a process has used, in user and kernel mode.
func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name may hold spaces
	var ticks uint64
	for _, f := range strings.Fields(rest)[11:13] { // utime, stime: proc(5)
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// softirqd are the kernel's own processes that handle packets when nobody else does.
// Otherwise that is charged to whoever happens to send.
func softirqd() (pids []int, err error) {
	comms, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	for _, comm := range comms {
		name, _ := os.ReadFile(comm) // gone by now: not the one
		if !strings.HasPrefix(string(name), "ksoftirqd/") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(comm)))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// residentMB is what a process holds in memory: now ("VmRSS") or at most since it
// began ("VmHWM").
func residentMB(pid int, field string) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, after, found := strings.Cut(string(status), field+":")
	if !found {
		return 0, fmt.Errorf("process %d has no %s", pid, field)
	}
	kb, err := strconv.ParseFloat(strings.Fields(after)[0], 64)
	return kb / 1024, err
}
