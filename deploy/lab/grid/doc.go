//go:build linux

// Command grid has every kind of internet access meet every other in a lab of
// namespaces: for each pair a fresh internet, a fresh hub and two fresh agents of
// the real binary. What the pair should come to is written in [wanted]; what it
// came to is read from the packets that the core and the two accesses carried, not
// from what meshd says of itself.
//
//	alice ── NAT ──┐            ┌── NAT ── bob        alice pings bob through the
//	               ├── core ────┤                     mesh from before he joins
//	            watched        watched
//	                     │
//	                    hub (two addresses, two UDP ports)
//
// It prints a line for each pair and writes the whole as a Markdown table. It
// exits with 1 when a pair is not as wanted.
//
//	grid [-n 3] [-only NAME] [-o GRID.md] [-logs DIR] path/to/meshd
package main
