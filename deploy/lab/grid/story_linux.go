package main

import (
	"fmt"
	"strings"
	"time"

	"meshd/deploy/lab"
	"meshd/punch/wire"
)

// story is what was seen, for a person to read.
type story []moment

type moment struct {
	at   time.Time
	what string
}

// storyLen is how many packets a story has at most.
const storyLen = 2000

func (s *story) add(end int, p lab.Seen) {
	if len(*s) == storyLen {
		return
	}
	arrow := "<-"
	if p.Up {
		arrow = "->"
	}
	*s = append(*s, moment{p.At, fmt.Sprintf("%-5s %v %s %v  %s", [...]string{"alice", "bob"}[end], p.Src, arrow, p.Dst, describe(p.Payload))})
}

func describe(b []byte) string {
	if headed(b) {
		return "with a header: " + describe(b[wire.HeaderSize:])
	}
	kind := [...]string{wire.Unknown: "unknown", wire.WireGuard: "", wire.Probe: "probe", wire.Relay: "relay session", wire.STUN: "STUN"}[wire.KindOf(b)]
	if kind == "" {
		kind = [...]string{1: "handshake initiation", 2: "handshake response", 3: "cookie", 4: "data"}[b[0]]
	}
	return fmt.Sprintf("%s, %d bytes", kind, len(b))
}

// since tells the story in milliseconds after an event.
func (s story) since(event time.Time) string {
	var b strings.Builder
	for _, m := range s {
		fmt.Fprintf(&b, "%10.1f  %s\n", float64(m.at.Sub(event).Microseconds())/1000, m.what)
	}
	return b.String()
}
