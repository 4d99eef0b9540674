package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// report writes results as Markdown: the grid, what is not as wanted, and what it
// took.
func report(w io.Writer, results []result) {
	fmt.Fprint(w, preface)
	writeScore(w, results)
	writeGrid(w, results)
	writeTimes(w, results)
	writeOthers(w, results)
}

const preface = `# Every kind of internet access meets every other

Written by ` + "`make grid`" + `: the real binary in network namespaces, a fresh internet with a fresh hub (two
addresses, two UDP ports: with one, a NAT that maps by address looks as if it did not) for each pair. Each access is
10 ms from the core, the hub 1 ms. What is direct is read from bytes that the core counted between the two public
addresses. The time of a direct pair is from the first packet of one that reached the other, by the hub or straight,
until WireGuard's packets have arrived straight at both. Alice joins first, then bob; each pings the other all the while.

`

// compared are the eleven kinds by which such systems are compared, in pairs of
// different ones.
var compared = []string{
	"public", "full cone", "restricted", "port-restricted", "linux", "per address", "preserving", "step +1", "random", "block", "carrier",
}

func writeScore(w io.Writer, results []result) {
	var good, few, direct int
	for _, r := range results {
		if r.asWanted() {
			good++
		}
		if r.row != r.column && slices.Contains(compared, kinds[r.row].name) && slices.Contains(compared, kinds[r.column].name) {
			few++
			if r.got == straight {
				direct++
			}
		}
	}
	fmt.Fprintf(w, "%d of %d pairs are as wanted. Of the %d pairs among %s, **%d are direct**.\n\n",
		good, len(results), few, strings.Join(compared, ", "), direct)
}

func writeGrid(w io.Writer, results []result) {
	cells := make(map[[2]int]string)
	for _, r := range results {
		cells[[2]int{r.row, r.column}] = cell(r)
	}
	row := func(head string, cell func(column int) string) {
		fmt.Fprintf(w, "| %s |", head)
		for i := range kinds {
			fmt.Fprintf(w, " %s |", cell(i))
		}
		fmt.Fprintln(w)
	}
	row("", func(column int) string { return kinds[column].name })
	row("---", func(int) string { return "---" })
	for i, k := range kinds {
		row("**"+k.name+"**", func(column int) string { return cells[[2]int{i, column}] })
	}
	fmt.Fprintln(w, "\nA cell in bold with ✗ is not as wanted.")
}

// cell is a result in a word: the time of a direct one.
func cell(r result) string {
	s := string(r.got)
	switch {
	case r.err != nil:
		s = "error"
	case r.got == straight:
		s = short(r.toDirect)
	}
	if !r.asWanted() {
		return "**" + s + " ✗**"
	}
	return s
}

func short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// tally adds up the pairs of one wanted way, and of those that are as wanted what
// it took.
type tally struct {
	pairs                int
	firsts, times, talks []time.Duration
	probes               []int
	late                 int // most of one pair
}

func (t *tally) add(r result) {
	t.pairs++
	if !r.asWanted() {
		return
	}
	t.firsts, t.times = append(t.firsts, r.toFirst), append(t.times, r.toDirect)
	t.probes, t.late = append(t.probes, r.probes), max(t.late, r.late)
	if r.toTalk > 0 {
		t.talks = append(t.talks, r.toTalk)
	}
}

const timesHead = `
| wanted way | pairs | as wanted | first direct packet: median | 95 % | target | direct both ways: median | 95 % | talk: median | 95 % | probes: median | most | after 3 s |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
`

const timesFoot = `
The first direct packet is WireGuard's first to arrive straight at either of the two. Talk is the time until a ping through the mesh was answered. Probes are the UDP packets, not WireGuard's, that the
two sent to each other's public address until they were direct, both added up; those after 3 s are the most of a
pair that can't be.
`

func writeTimes(w io.Writer, results []result) {
	fmt.Fprint(w, timesHead)
	for _, way := range []way{opened, predicted, block, searched, relayed, tls} {
		var t tally
		for _, r := range results {
			if r.want == way {
				t.add(r)
			}
		}
		target, late := short(way.target()), "–"
		if !way.direct() {
			t.firsts, t.times, target, late = nil, nil, "–", strconv.Itoa(t.late)
		}
		fmt.Fprintf(w, "| %v | %d | %d | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", way, t.pairs, len(t.probes),
			of(t.firsts, 0.5, short), of(t.firsts, 0.95, short), target, of(t.times, 0.5, short), of(t.times, 0.95, short), of(t.talks, 0.5, short), of(t.talks, 0.95, short),
			of(t.probes, 0.5, strconv.Itoa), of(t.probes, 1, strconv.Itoa), late)
	}
	fmt.Fprint(w, timesFoot)
}

// of says a quantile of values, if there are any.
func of[T int | time.Duration](values []T, q float64, say func(T) string) string {
	if len(values) == 0 {
		return "–"
	}
	return say(quantile(values, q))
}

// quantile returns the least value which that share of the values doesn't exceed.
func quantile[T int | time.Duration](values []T, q float64) T {
	sorted := slices.Sorted(slices.Values(values))
	i := int(float64(len(sorted))*q+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

func writeOthers(w io.Writer, results []result) {
	if !slices.ContainsFunc(results, func(r result) bool { return !r.asWanted() }) {
		return
	}
	fmt.Fprint(w, "\nNot as wanted:\n\n| pair | got | wanted | probes | what meshd says |\n|---|---|---|---|---|\n")
	for _, r := range results {
		if r.asWanted() {
			continue
		}
		got, note := string(r.got), r.note
		if r.err != nil {
			got, note = "error", r.err.Error()
		}
		fmt.Fprintf(w, "| %s × %s | %s | %s by %v | %d | %s |\n", kinds[r.row].name, kinds[r.column].name, got, r.want.verdict(), r.want, r.probes,
			strings.ReplaceAll(strings.ReplaceAll(note, "\n", " "), "|", "\\|"))
	}
}
