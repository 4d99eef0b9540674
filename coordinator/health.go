package coordinator

import (
	"maps"
	"slices"
)

// health is what is wrong, one sentence a cause. It belongs to the
// coordinator's goroutine.
type health map[string]string

// Causes of ill health.
const (
	healthStore = "store"
	healthHosts = "hosts"
)

// set notes what is wrong, and reports whether it is news.
func (h *health) set(cause, sentence string) bool {
	if *h == nil {
		*h = health{}
	}
	_, known := (*h)[cause]
	(*h)[cause] = sentence
	return !known
}

func (h *health) clear(cause string) { delete(*h, cause) }

// lines returns the sentences in a steady order.
func (h health) lines() []string {
	var lines []string
	for _, cause := range slices.Sorted(maps.Keys(h)) {
		lines = append(lines, h[cause])
	}
	return lines
}
