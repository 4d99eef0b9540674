package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
)

// modules are what the lab and meshd use of the kernel. There is nobody in the
// guest who would load one on demand.
var modules = strings.Fields(`
	wireguard veth tun bridge sch_netem
	nft_chain_nat nft_masq nft_nat nft_redir nft_ct nft_limit nft_numgen nft_hash nft_objref nft_fib_inet nft_reject_inet nft_reject_ipv4 nft_reject_ipv6 nft_log
	nf_conntrack_netlink`)

// addModules adds the modules of an unpacked kernel, and returns their paths in
// the order in which they can be loaded.
func addModules(a *archive, kernel string) ([]string, error) {
	files := map[string]string{} // by name
	err := filepath.WalkDir(filepath.Join(kernel, "lib/modules"), func(file string, d fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(file), ".ko"); err == nil && ok {
			files[moduleName(name)] = file
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find the kernel's modules: %w", err)
	}
	s := sorter{files: files, seen: map[string]bool{}}
	for _, name := range modules {
		if err := s.visit(name); err != nil {
			return nil, err
		}
	}
	var paths []string
	for _, file := range s.order {
		to := path.Join("/lib/modules", filepath.Base(file))
		if err := a.file(to, file); err != nil {
			return nil, err
		}
		paths = append(paths, to)
	}
	return paths, nil
}

// moduleName is the name by which modules call each other.
func moduleName(s string) string { return strings.ReplaceAll(s, "-", "_") }

// sorter puts modules after those they depend on.
type sorter struct {
	files map[string]string
	seen  map[string]bool
	order []string
}

func (s *sorter) visit(name string) error {
	name = moduleName(name)
	if s.seen[name] {
		return nil
	}
	s.seen[name] = true
	file, ok := s.files[name]
	if !ok {
		return fmt.Errorf("the kernel has no module %q", name)
	}
	needed, err := dependencies(file)
	if err != nil {
		return err
	}
	for _, n := range needed {
		if err := s.visit(n); err != nil {
			return err
		}
	}
	s.order = append(s.order, file)
	return nil
}

// dependencies reads the modules that a module says it needs.
func dependencies(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("read module %s: no description in it", file)
	}
	text, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", file, err)
	}
	for field := range bytes.SplitSeq(text, []byte{0}) {
		if names, ok := bytes.CutPrefix(field, []byte("depends=")); ok && len(names) > 0 {
			return strings.Split(string(names), ","), nil
		}
	}
	return nil, nil
}
