package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
)

// archive writes the cpio format that the kernel unpacks as its first file
// system ("newc": Documentation/driver-api/early-userspace/buffer-format.rst).
//
//	"070701" ino mode uid gid nlink mtime size dev(2) rdev(2) namesize check   8 hex digits each
//	name NUL, padded to 4 · content, padded to 4 · ... · "TRAILER!!!"
type archive struct {
	w    *bufio.Writer
	n    int             // bytes written
	last int             // number of the last file
	has  map[string]bool // paths written
	err  error
}

// Types of files, as in stat's st_mode.
const (
	modeDir  = 0o040755
	modeFile = 0o100755
	modeLink = 0o120777
	modeChar = 0o020600
)

func newArchive(w io.Writer) *archive {
	return &archive{w: bufio.NewWriterSize(w, 1<<20), has: map[string]bool{"/": true, ".": true}}
}

func (a *archive) write(b []byte) {
	if a.err == nil {
		_, a.err = a.w.Write(b)
	}
	a.n += len(b)
}

func (a *archive) pad() { a.write(make([]byte, -a.n&3)) }

// entry writes one file of a type, with its folders before it.
func (a *archive) entry(name string, mode, major, minor int, content []byte) {
	if a.has[name] {
		return
	}
	a.dir(path.Dir(name))
	a.has[name] = true
	a.raw(name, mode, major, minor, content)
}

func (a *archive) raw(name string, mode, major, minor int, content []byte) {
	a.last++
	a.write(fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		a.last, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name)+1, 0, name))
	a.pad()
	a.write(content)
	a.pad()
}

func (a *archive) dir(name string) {
	if !a.has[name] {
		a.entry(name, modeDir, 0, 0, nil)
	}
}

func (a *archive) link(name, target string) { a.entry(name, modeLink, 0, 0, []byte(target)) }

// file copies a file of the host.
func (a *archive) file(name, from string) error {
	if a.has[name] {
		return nil
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("copy %s into the guest: %w", from, err)
	}
	a.entry(name, modeFile, 0, 0, content)
	return nil
}

// finish ends the archive.
func (a *archive) finish() error {
	a.raw("TRAILER!!!", 0, 0, 0, nil)
	if a.err == nil {
		a.err = a.w.Flush()
	}
	return a.err
}
