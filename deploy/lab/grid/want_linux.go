package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"meshd/deploy/lab/mesh"
)

// way is how a pair is expected to talk.
type way byte

// Ways. Each but the last two is direct, and says what it takes.
const (
	opened    way = 'o' // both send, and each packet opens the sender's NAT for the other's
	predicted way = 'p' // the port of a NAT that maps per destination is foretold
	block     way = 'b' // ... is found by search in the few ports its user has
	searched  way = 's' // ... is found by search in the whole range
	relayed   way = 'r' // by the hub's UDP
	tls       way = 't' // by the hub's TCP port
)

// wanted is what arithmetic allows: a NAT that maps per destination shows its port
// only to whom it sends, so somebody has to hit that port unseen, and that takes an
// endpoint that keeps its own. Two that both map per destination meet when both
// can be foretold. It is written before anything is run, and is no record of
// what meshd does.
const wanted = `
                 pub con res por lin adr pre  +1  +2  -1 ran blo car cbl mute
public           o   o   o   o   o   o   o   o   o   o   o   o   o   o   t
full cone        o   o   o   o   o   o   o   o   o   o   o   o   o   o   t
restricted       o   o   o   o   o   o   o   o   o   o   o   o   o   o   t
port-restricted  o   o   o   o   o   s   p   p   p   p   s   b   o   b   t
linux            o   o   o   o   o   s   p   p   p   p   s   b   o   b   t
per address      o   o   o   s   s   r   r   r   r   r   r   r   s   r   t
preserving       o   o   o   p   p   r   p   p   p   p   r   r   p   r   t
step +1          o   o   o   p   p   r   p   p   p   p   r   r   p   r   t
step +2          o   o   o   p   p   r   p   p   p   p   r   r   p   r   t
step -1          o   o   o   p   p   r   p   p   p   p   r   r   p   r   t
random           o   o   o   s   s   r   r   r   r   r   r   r   s   r   t
block            o   o   o   b   b   r   r   r   r   r   r   r   b   r   t
carrier          o   o   o   o   o   s   p   p   p   p   s   b   o   b   t
carrier block    o   o   o   b   b   r   r   r   r   r   r   r   b   r   t
no UDP           t   t   t   t   t   t   t   t   t   t   t   t   t   t   t`

// want is the expected way of a pair of kinds, by their numbers.
func want(row, column int) way {
	line := strings.Split(wanted, "\n")[2+row]
	cells := strings.Fields(strings.TrimPrefix(line, kinds[row].name))
	if len(cells) != len(kinds) {
		panic(fmt.Sprintf("row %q of the table has %d cells, not %d", line, len(cells), len(kinds)))
	}
	return way(cells[column][0])
}

func (w way) direct() bool { return w != relayed && w != tls }

// verdict is what the core must see of a way.
func (w way) verdict() verdict {
	switch w {
	case relayed:
		return viaHub
	case tls:
		return viaTLS
	}
	return straight
}

// String describes a way for the report.
func (w way) String() string {
	switch w {
	case opened:
		return "simultaneous opening"
	case predicted:
		return "predicted port"
	case block:
		return "search in a block"
	case searched:
		return "search in the full range"
	case relayed:
		return "relay by UDP"
	}
	return "relay by TLS"
}

// target is within what time of asking a way must be direct: half a round trip by
// the hub, where both are told to open, and one straight; or what issue 3 allows.
func (w way) target() time.Duration {
	switch w {
	case opened:
		return byHubOneWay + 2*straightOneWay
	case predicted:
		return 500 * time.Millisecond
	case block:
		return 1500 * time.Millisecond
	case searched:
		return 14 * time.Second
	}
	return 0
}

// patience is for how long a pair is watched: a direct one until it is direct, or
// somewhat longer than it may take; another one over its retries at 5 s.
func (w way) patience() time.Duration {
	if w.direct() {
		return slowness * max(10*time.Second, w.target()+4*time.Second)
	}
	return 8 * time.Second
}

// slowness is how much longer an emulated machine may take, the one that can't build
// meshd.
var slowness = time.Duration(1)

func init() {
	if os.Getenv(mesh.PrebuiltEnv) != "" {
		slowness = 4
	}
}

// quiet is the time after which a pair that can't be direct costs nothing more.
const quiet = 3 * time.Second
