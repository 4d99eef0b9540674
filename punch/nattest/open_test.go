package nattest_test

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"meshd/punch/nattest"
)

// agent opens simultaneously in the plainest way: it pings its peer's reflexive
// address and every source that it ever heard from.
type agent struct {
	host   *nattest.Host
	socket *nattest.Socket
	hub    netip.AddrPort

	mu        sync.Mutex // guards following
	reflexive netip.AddrPort
	targets   map[netip.AddrPort]bool
}

func newAgent(t *testing.T, h *nattest.Host, hub netip.AddrPort) *agent {
	a := &agent{host: h, socket: listen(t, h, endpoint("0.0.0.0:41641")), hub: hub, targets: map[netip.AddrPort]bool{}}
	go a.listen()
	send(t, a.socket, hub, "observe")
	return a
}

func (a *agent) listen() {
	for {
		text, from, err := read(a.socket)
		if err != nil {
			return
		}
		a.mu.Lock()
		if from == a.hub {
			a.reflexive = endpoint(text)
		} else {
			a.targets[from] = true
		}
		a.mu.Unlock()
	}
}

func (a *agent) observed() netip.AddrPort {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reflexive
}

func (a *agent) aim(at netip.AddrPort) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at.IsValid() {
		a.targets[at] = true
	}
}

func (a *agent) ping(t *testing.T) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for to := range a.targets {
		send(t, a.socket, to, "ping")
	}
}

// reflect answers each datagram with the source it came from.
func reflect(s *nattest.Socket) {
	for {
		_, from, err := read(s)
		if err != nil {
			return
		}
		if err := s.Write([][]byte{[]byte(from.String())}, from); err != nil {
			return
		}
	}
}

// open has two agents open simultaneously for two seconds and returns who was
// heard: "yes", "one-way" or "no".
func open(t *testing.T, n *nattest.Net, a, b *nattest.Host) string {
	hub, _ := n.Place(wan)
	s := listen(t, hub, endpoint("0.0.0.0:3478"))
	go reflect(s)
	at := netip.AddrPortFrom(hub.Addr(), 3478)
	one, two := newAgent(t, a, at), newAgent(t, b, at)
	time.Sleep(200 * time.Millisecond)

	one.aim(two.observed())
	two.aim(one.observed())
	for range 20 {
		one.ping(t)
		two.ping(t)
		time.Sleep(100 * time.Millisecond)
	}
	there, back := n.Delivered(a, b).Packets > 0, n.Delivered(b, a).Packets > 0
	switch {
	case there && back:
		return "yes"
	case there || back:
		return "one-way"
	}
	return "no"
}

// TestSimultaneousOpen holds the net against the arithmetic of hole punching: which
// pairs of mapping × filtering can meet by plain simultaneous opening. O is public, C
// has endpoint-independent mapping, H has not; 1, 2, 3 filter by nothing, by address,
// by address and port; B blocks UDP.
func TestSimultaneousOpen(t *testing.T) {
	kinds := map[string][]nattest.NAT{
		"O":  nil,
		"C1": {nattest.FullCone}, "C2": {nattest.RestrictedCone}, "C3": {nattest.PortRestricted},
		"H1": {nattest.SymmetricOpen}, "H2": {nattest.SymmetricRestricted}, "H3": {nattest.Symmetric},
		"B": {nattest.Blocked},
	}
	const table = `
		|    | O   | C1  | C2  | C3      | H1      | H2  | H3      | B  |
		| O  | yes | yes | yes | yes     | yes     | yes | yes     | no |
		| C1 | yes | yes | yes | yes     | yes     | yes | yes     | no |
		| C2 | yes | yes | yes | yes     | yes     | yes | yes     | no |
		| C3 | yes | yes | yes | yes     | one-way | no  | no      | no |
		| H1 | yes | yes | yes | one-way | yes     | yes | one-way | no |
		| H2 | yes | yes | yes | no      | yes     | no  | no      | no |
		| H3 | yes | yes | yes | no      | one-way | no  | no      | no |
		| B  | no  | no  | no  | no      | no      | no  | no      | no |`
	rows := cells(table)
	for _, row := range rows[1:] {
		for column, want := range row[1:] {
			kindA, kindB := row[0], rows[0][column+1]
			t.Run(kindA+"×"+kindB, func(t *testing.T) {
				bubble(t, nattest.Config{}, func(w *world) {
					a, _ := w.Place(wan, kinds[kindA]...)
					b, _ := w.Place(wan, kinds[kindB]...)
					if got := open(t, w.Net, a, b); got != want {
						t.Errorf("got %s, want %s", got, want)
					}
				})
			})
		}
	}
}

// cells splits a table drawn with bars.
func cells(table string) [][]string {
	var rows [][]string
	for line := range strings.Lines(strings.TrimSpace(table)) {
		var row []string
		for cell := range strings.SplitSeq(strings.Trim(strings.TrimSpace(line), "|"), "|") {
			row = append(row, strings.TrimSpace(cell))
		}
		rows = append(rows, row)
	}
	return rows
}
