package main

import (
	"bytes"
	"fmt"
	"testing"
)

// TestArchiveIsPadded reads an archive back as the kernel does.
func TestArchiveIsPadded(t *testing.T) {
	var out bytes.Buffer
	a := newArchive(&out)
	a.entry("/a/b/file", modeFile, 0, 0, []byte("hello"))
	a.entry("/a/b/file", modeFile, 0, 0, []byte("the first one stays"))
	a.link("/a/link", "b/file")
	if err := a.finish(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for b := out.Bytes(); ; {
		var magic string
		var ino, mode, uid, gid, nlink, mtime, size, major, minor, rmajor, rminor, nameSize, check int
		if _, err := fmt.Sscanf(string(b[:110]), "%6s%8x%8x%8x%8x%8x%8x%8x%8x%8x%8x%8x%8x%8x",
			&magic, &ino, &mode, &uid, &gid, &nlink, &mtime, &size, &major, &minor, &rmajor, &rminor, &nameSize, &check); err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		name := string(b[110 : 110+nameSize-1])
		b = b[(110+nameSize+3)&^3:]
		if name == "TRAILER!!!" {
			break
		}
		got = append(got, fmt.Sprintf("%o %s %s", mode, name, b[:size]))
		b = b[(size+3)&^3:]
	}
	want := []string{"40755 /a ", "40755 /a/b ", "100755 /a/b/file hello", "120777 /a/link b/file"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// TestClosureHasWhatAProgramNeeds follows the libraries of a program that every
// Debian has.
func TestClosureHasWhatAProgramNeeds(t *testing.T) {
	var out bytes.Buffer
	a := newArchive(&out)
	if err := (closure{a}).add("/bin/sh", "/bin/sh"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/bin/sh", "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"} {
		if !a.has[want] {
			t.Errorf("no %s in the archive", want)
		}
	}
}
