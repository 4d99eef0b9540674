package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLogIsBounded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, logFile)
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	f := open()
	fmt.Fprintln(f, "line 0") // by somebody else, before
	log := &boundedLog{file: f, path: path, size: 7, most: 21}
	for i := 1; i <= 7; i++ {
		fmt.Fprintf(log, "line %d\n", i)
	}
	if got, want := read(path+".old")+"--\n"+read(path), "line 3\nline 4\nline 5\n--\nline 6\nline 7\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	fmt.Fprintln(log, strings.Repeat("x", 30))
	if got := read(path); len(got) != 31 {
		t.Errorf("a line longer than all: got %q", got)
	}

	t.Log("it is for the daemon's own log alone")
	for _, tt := range []struct {
		what, state string
		bounded     bool
	}{{"its own", dir, true}, {"another file", filepath.Join(dir, "other"), false}} {
		a := &app{stderr: f, getenv: func(string) string { return "" }}
		if err := f.Truncate(logSize); err != nil {
			t.Fatal(err)
		}
		a.daemonLogger(tt.state).Info("up")
		if info, err := f.Stat(); err != nil || (info.Size() < logSize) != tt.bounded {
			t.Errorf("%s: has %d bytes now, %v", tt.what, info.Size(), err)
		}
	}
}
