//go:build guest

package main

import (
	"testing"

	"meshd/deploy/lab/mesh"
)

// TestKernelGrid tries pairs whose both ends use the kernel's WireGuard. It needs a
// kernel that has one: "make guest" runs it.
func TestKernelGrid(t *testing.T) {
	bin, err := mesh.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	try(t, member{bin, "kernel"}, 1, [][2]string{
		{"public", "port-restricted"},
		{"port-restricted", "port-restricted"},
		{"public", "random"},
		{"port-restricted", "step +1"},
		{"step +1", "step -1"},
		{"random", "random"},
		{"port-restricted", "no UDP"},
	})
}
