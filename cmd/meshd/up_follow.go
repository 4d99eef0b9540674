package main

import (
	"context"
	"fmt"
	"time"

	"meshd/agent/localapi"
)

// settleTime is how long a mesh that is up may take to learn its NAT and to
// punch its first paths before they are printed. The mesh works meanwhile.
const settleTime = 500 * time.Millisecond

// follow says each state as it changes, until the mesh is up or has failed. It
// returns at once if it is not to wait, and the last state when ctx ends.
func (a *app) follow(ctx context.Context, c *localapi.Client, wait bool) (localapi.Status, error) {
	said, last := "", localapi.Status{}
	for {
		s, err := c.Status(ctx)
		if err != nil {
			return last, ended(ctx, err)
		}
		last = s
		if words := stateWords(s); words != said && !s.State.Up() && s.State != localapi.Failed {
			said = words
			a.say("%s", words)
		}
		switch {
		case s.State.Up():
			return a.settle(ctx, c, s), nil
		case s.State == localapi.Failed:
			return s, failed(s)
		case !wait:
			return s, nil
		case !pause(ctx, a.pollEvery):
			return s, ctx.Err()
		}
	}
}

// ended prefers the end of our time to what it did to a call.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func failed(s localapi.Status) error {
	if s.Failure == nil {
		return failure("meshd status", "mesh %s could not be brought up", s.Mesh)
	}
	return failure(s.Failure.Hint, "%s", s.Failure.Message)
}

// settle gives a mesh that has just come up a moment to find its paths.
func (a *app) settle(ctx context.Context, c *localapi.Client, s localapi.Status) localapi.Status {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for !settled(s) && pause(ctx, a.pollEvery) {
		if now, err := c.Status(ctx); err == nil {
			s = now
		}
	}
	return s
}

func settled(s localapi.Status) bool {
	for _, p := range s.Peers {
		if p.Online && p.Path != "direct" {
			return false
		}
	}
	return s.Self.NAT != "" || !s.Hub.Connected
}

// printUp is the answer of `meshd up`.
func (a *app) printUp(s localapi.Status) {
	nat := s.Self.NAT
	if nat == "" {
		nat = "not known yet"
	}
	fmt.Fprintf(a.stdout, "%s is up in mesh %s\n", s.Self.Name, s.Mesh)
	printTable(a.stdout, [][]string{
		{"addresses", list(s.Self.Addresses)},
		{"NAT", nat},
		{"peers", fmt.Sprint(len(s.Peers))},
	})
	if len(s.Peers) == 0 {
		return
	}
	fmt.Fprintln(a.stdout)
	rows := [][]string{{"PEER", "ADDRESS", "PATH"}}
	for _, p := range s.Peers {
		rows = append(rows, []string{p.Name, firstAddr(p), pathWords(p)})
	}
	printTable(a.stdout, rows)
}
