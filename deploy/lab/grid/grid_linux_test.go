package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
	"meshd/punch/wire"
)

func numberOf(t *testing.T, name string) int {
	t.Helper()
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	if i < 0 {
		t.Fatalf("no kind is called %q", name)
	}
	return i
}

// The table must say what issue 3 says.
func TestWanted(t *testing.T) {
	hard := []string{"per address", "preserving", "step +1", "step +2", "step -1", "random", "block", "carrier block"} // map per destination
	chance := []string{"per address", "random", "block", "carrier block"}                                              // and draw ports at random
	var pairs, direct int
	for i, a := range kinds {
		for j, b := range kinds {
			w := want(i, j)
			if !strings.ContainsRune("opbsrt", rune(w)) || w != want(j, i) {
				t.Errorf("%s × %s is %q one way and %q the other", a.name, b.name, w, want(j, i))
			}
			lost := slices.Contains(hard, a.name) && slices.Contains(hard, b.name) &&
				(slices.Contains(chance, a.name) || slices.Contains(chance, b.name))
			if mute := a.name == "no UDP" || b.name == "no UDP"; (w == tls) != mute || (w == relayed) != (lost && !mute) {
				t.Errorf("%s × %s is wanted by %v", a.name, b.name, w)
			}
			if i < j && slices.Contains(compared, a.name) && slices.Contains(compared, b.name) {
				pairs++
				if w.direct() {
					direct++
				}
			}
		}
	}
	if pairs != 55 || direct != 46 {
		t.Errorf("%d of %d pairs are wanted direct, want 46 of 55", direct, pairs)
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name       string
		alice, bob sent
		want       verdict
	}{
		{"straight", sent{peer: 1000, hubUDP: 10}, sent{peer: 1000, hubUDP: 10}, straight},
		{"by the hub", sent{peer: 10, hubUDP: 1000}, sent{peer: 10, hubUDP: 1000}, viaHub},
		{"one way", sent{peer: 1000, hubUDP: 10}, sent{peer: 10, hubUDP: 1000}, halfway},
		{"by TLS", sent{hubTCP: 1000}, sent{hubTCP: 1000}, viaTLS},
		{"one end by TLS", sent{hubTCP: 1000}, sent{hubUDP: 1000}, viaTLS},
		{"no answer", sent{peer: 1000}, sent{peer: 10}, silence},
	} {
		if got := judge(c.alice, c.bob, 500); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestOutward(t *testing.T) {
	there := lab.Flow{From: aliceAddr, To: bobAddr}
	hub := lab.Flow{From: aliceAddr, To: mesh.HubAddr}
	type counts = map[lab.Flow]lab.Count
	before := flows{udp: counts{there: {Bytes: 5}}, tcp: counts{hub: {Bytes: 100}}}
	after := flows{udp: counts{there: {Bytes: 7}, hub: {Bytes: 30}, there.Reverse(): {Bytes: 1}}, tcp: counts{hub: {Bytes: 400}}}
	if got, want := outward(before, after, aliceAddr, bobAddr, mesh.HubAddr), (sent{2, 30, 300}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTrace(t *testing.T) {
	tr := &trace{addrs: [2]netip.Addr{aliceAddr, bobAddr}}
	alice, bob := tr.end(0), tr.end(1)
	begin := time.Unix(1000, 0)
	a, b, hub := netip.AddrPortFrom(aliceAddr, 1), netip.AddrPortFrom(bobAddr, 2), netip.AddrPortFrom(mesh.HubAddr, 3478)
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	seen := func(ms int, up bool, src, dst netip.AddrPort, payload []byte) lab.Seen {
		return lab.Seen{At: at(ms), Up: up, Proto: lab.UDP, Src: src, Dst: dst, Payload: payload}
	}
	probe := append([]byte{0xd1, 'm', 's', 'h'}, make([]byte, 124)...)
	ping := append([]byte{4, 0, 0, 0}, make([]byte, 1100-4)...)
	relay := func(b []byte) []byte {
		return append(wire.AppendHeader(nil, wire.Header{Type: wire.Data, ID: 7}), b...)
	}

	alice(seen(-500, true, a, hub, relay(probe))) // nobody is there yet
	bob(seen(-30, true, b, a, probe))             // dies on its way
	alice(seen(0, true, a, hub, relay(ping)))
	bob(seen(22, false, hub, b, relay(ping)))
	bob(seen(22, true, b, hub, relay(ping)))
	bob(seen(22, true, b, a, probe))
	alice(seen(44, false, hub, a, relay(ping)))
	alice(seen(44, true, a, b, probe))
	if _, _, ok := tr.toDirect(); ok {
		t.Error("direct although WireGuard has not been seen straight")
	}
	bob(seen(70, false, a, b, ping))
	alice(seen(80, false, b, a, ping))
	alice(seen(4000, true, a, b, probe))

	if got := tr.askedAt(); !got.Equal(begin) {
		t.Errorf("asked at %v, want %v", got, begin)
	}
	if one, both, ok := tr.toDirect(); !ok || one != 70*time.Millisecond || both != 80*time.Millisecond {
		t.Errorf("direct after %v and %v, want 70 ms and 80 ms", one, both)
	}
	if got := tr.toTalk(); got != 44*time.Millisecond {
		t.Errorf("talked after %v, want 44 ms", got)
	}
	if probes, late, signals := tr.spent(); probes != 3 || late != 1 || signals != 1 {
		t.Errorf("spent %d probes, %d of them late, and %d signals, want 3, 1, 1", probes, late, signals)
	}
}

func TestReport(t *testing.T) {
	public, random, block := numberOf(t, "public"), numberOf(t, "random"), numberOf(t, "block")
	var b bytes.Buffer
	report(&b, []result{
		{row: public, column: random, want: opened, got: straight, toFirst: 62 * time.Millisecond, toDirect: 82 * time.Millisecond, toTalk: 90 * time.Millisecond, probes: 9},
		{row: public, column: block, want: opened, got: viaHub, note: `alice says "no | reply"`},
		{row: random, column: random, want: relayed, got: viaHub, probes: 12, late: 2},
	})
	for _, line := range []string{
		"2 of 3 pairs are as wanted.",
		"**1 are direct**",
		"| **public** |  |  |  |  |  |  |  |  |  |  | 82 ms | **relay ✗** |  |  |  |",
		"| simultaneous opening | 2 | 1 | 62 ms | 62 ms | 62 ms | 82 ms | 82 ms | 90 ms | 90 ms | 9 | 9 | – |",
		"| relay by UDP | 1 | 1 | – | – | – | – | – | – | – | 12 | 12 | 2 |",
		`| public × block | relay | direct by simultaneous opening | 0 | alice says "no \| reply" |`,
	} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("the report lacks %q:\n%s", line, &b)
		}
	}
}

func TestQuantile(t *testing.T) {
	n := []int{4, 1, 3, 2}
	for q, want := range map[float64]int{0: 1, 0.25: 1, 0.5: 2, 0.75: 3, 0.95: 4, 1: 4} {
		if got := quantile(n, q); got != want {
			t.Errorf("quantile %v of %v: got %d, want %d", q, n, got, want)
		}
	}
}

// TestFast tries the pairs of which each stands for many.
func TestFast(t *testing.T) {
	bin, err := mesh.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	try(t, member{bin: bin}, 3, [][2]string{
		{"linux", "carrier"},
		{"port-restricted", "linux"},
		{"restricted", "random"},
		{"public", "carrier block"},
		{"linux", "step +1"},
		{"linux", "block"},
		{"random", "random"},
		{"linux", "no UDP"},
	})
}

// try has pairs meet, some at a time, and fails for those that are not as wanted. Of
// the pairs that several machines share it tries this one's.
func try(t *testing.T, m member, n int, pairs [][2]string) {
	t.Helper()
	logs := t.TempDir()
	pairs, err := mesh.Share(pairs)
	if err != nil {
		t.Fatal(err)
	}
	var cells [][2]int
	for _, pair := range pairs {
		cells = append(cells, [2]int{numberOf(t, pair[0]), numberOf(t, pair[1])})
	}
	for _, r := range runAll(t.Context(), m, n, cells, logs) {
		if r.asWanted() {
			continue
		}
		t.Error(line(r))
		for _, name := range []string{"hub", "alice", "bob"} {
			b, _ := os.ReadFile(fmt.Sprintf("%s/%s x %s/%s.log", logs, kinds[r.row].name, kinds[r.column].name, name))
			t.Logf("%s said:\n%s", name, b)
		}
	}
}
