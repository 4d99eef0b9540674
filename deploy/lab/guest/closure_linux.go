package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// libraryDirs are where Debian's dynamic loader looks.
var libraryDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"}

// closure adds programs with all the libraries that they need.
type closure struct{ *archive }

// add puts a file of the host into the archive, under a name.
func (c closure) add(name, from string) error {
	if c.has[name] {
		return nil
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("copy %s into the guest: %w", from, err)
	}
	c.entry(name, modeFile, 0, 0, content)
	if !isELF(content) {
		return nil
	}
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("read what %s needs: %w", from, err)
	}
	if loader := interpreter(f); loader != "" {
		if err := c.add(loader, loader); err != nil {
			return err
		}
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("read what %s needs: %w", from, err)
	}
	for _, library := range libraries {
		path, err := findLibrary(f, library)
		if err != nil {
			return fmt.Errorf("%s needs %s: %w", from, library, err)
		}
		if err := c.add("/lib/x86_64-linux-gnu/"+library, path); err != nil {
			return err
		}
	}
	return nil
}

// interpreter is the dynamic loader that a program asks for; "" of a static one.
func interpreter(f *elf.File) string {
	section := f.Section(".interp")
	if section == nil {
		return ""
	}
	text, err := section.Data()
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(text), "\x00")
}

func findLibrary(f *elf.File, name string) (string, error) {
	dirs := libraryDirs
	for _, tag := range []elf.DynTag{elf.DT_RUNPATH, elf.DT_RPATH} {
		paths, err := f.DynString(tag)
		if err == nil {
			dirs = append(paths, dirs...)
		}
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("not in any of %v: %w", dirs, os.ErrNotExist)
}
