package netcfg

import (
	"bytes"
	"slices"
	"strings"
)

// The block of a mesh in the hosts file stands between two lines. Where the file
// ended without a newline before there was a block, the first line says so, and
// taking the block away takes away the newline too: what is others' stays as it
// was, to the byte.
const (
	markBegin   = " begin: written by meshd, which also takes it out"
	markUnended = ", and the newline before"
	markEnd     = " end"
)

func mark(mesh string) string { return "# meshd " + mesh }

// withBlock returns a hosts file with the block of a mesh: where the old one was,
// or at the end. No lines: without a block. Blocks of other meshes are others'.
func withBlock(file []byte, mesh string, lines []string) []byte {
	rest, at := withoutBlock(file, mesh)
	if len(lines) == 0 {
		return rest
	}
	begin := mark(mesh) + markBegin
	before, after := rest[:at], rest[at:]
	var b bytes.Buffer
	b.Write(before)
	if len(before) > 0 && before[len(before)-1] != '\n' {
		b.WriteByte('\n')
		begin += markUnended
	}
	b.WriteString(begin + "\n")
	for _, line := range lines {
		b.WriteString(line + "\n")
	}
	b.WriteString(mark(mesh) + markEnd + "\n")
	b.Write(after)
	return b.Bytes()
}

// withoutBlock returns the file without a mesh's blocks, and where the first was;
// without one that is the end.
func withoutBlock(file []byte, mesh string) (rest []byte, at int) {
	at = -1
	unended := false
	rest = make([]byte, 0, len(file))
	lines := bytes.SplitAfter(file, []byte("\n"))
	for i := 0; i < len(lines); i++ {
		begin, isBegin := strings.CutPrefix(text(lines[i]), mark(mesh)+markBegin)
		if !isBegin || begin != "" && begin != markUnended {
			rest = append(rest, lines[i]...)
			continue
		}
		if at < 0 {
			at, unended = len(rest), begin == markUnended
		}
		i = endOfBlock(lines, i, mesh)
	}
	if at < 0 {
		return rest, len(rest)
	}
	if unended {
		rest, at = unend(rest, at)
	}
	return rest, at
}

// unend takes away the newline before a block that was at at. What was written
// behind the block meanwhile needs it; another mesh's block inherits it.
func unend(rest []byte, at int) ([]byte, int) {
	if at == len(rest) && at > 0 && rest[at-1] == '\n' {
		return rest[:at-1], at - 1
	}
	next, _, _ := bytes.Cut(rest[at:], []byte("\n"))
	if bytes.HasPrefix(next, []byte("# meshd ")) && bytes.HasSuffix(next, []byte(markBegin)) {
		return slices.Insert(rest, at+len(next), []byte(markUnended)...), at
	}
	return rest, at
}

// endOfBlock returns the last line of the block that begins at line i. If its end
// is missing (a crash, a careless editor) it goes as far as lines bear our mark.
func endOfBlock(lines [][]byte, i int, mesh string) int {
	last := i
	for j := i + 1; j < len(lines); j++ {
		t := text(lines[j])
		if t == mark(mesh)+markEnd {
			return j
		}
		if strings.HasPrefix(t, mark(mesh)+markBegin) {
			break
		}
		if last == j-1 && strings.HasSuffix(t, " "+mark(mesh)) {
			last = j
		}
	}
	return last
}

func text(line []byte) string { return strings.TrimRight(string(line), "\r\n") }

// hostLines are the lines of a block. A short name that the rest of the file has
// already stays what it is there.
func hostLines(rest []byte, mesh string, n Names) []string {
	taken := map[string]bool{"localhost": true}
	for line := range bytes.Lines(rest) {
		line, _, _ = bytes.Cut(line, []byte("#"))
		if f := bytes.Fields(line); len(f) > 1 {
			for _, name := range f[1:] {
				taken[strings.ToLower(string(name))] = true
			}
		}
	}
	var lines []string
	for _, h := range n.Hosts {
		names := h.Name + "." + n.Zone
		if !taken[strings.ToLower(h.Name)] {
			names += " " + h.Name
		}
		for _, a := range h.Addresses {
			lines = append(lines, a.String()+"\t"+names+" "+mark(mesh))
		}
	}
	slices.Sort(lines)
	return lines
}
