package punch

import (
	"os"
	"strconv"
	"testing"
	"time"

	"meshd/punch/nattest"
)

// seedsEnv is how many worlds of its own each pair of TestGridSeeds gets. `make
// test` asks for forty, which makes three thousand.
const seedsEnv = "MESHD_GRID_SEEDS"

// TestGridSeeds has every kind of access meet every other in many worlds, whose
// NATs take other ports each time. What does not depend on luck must cross, or be
// relayed, in all of them; of searches nine in ten must find.
func TestGridSeeds(t *testing.T) {
	seeds := 2
	if s := os.Getenv(seedsEnv); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("%s: %v", seedsEnv, err)
		}
		seeds = n
	}
	for i, x := range nattest.Kinds {
		for _, y := range nattest.Kinds[i:] {
			t.Run(x.Name+" × "+y.Name, func(t *testing.T) {
				t.Parallel()
				gridCell(t, x, y, seeds)
			})
		}
	}
}

// gridCell runs a pair's worlds.
func gridCell(t *testing.T, x, y nattest.Kind, seeds int) {
	want := wanted(x, y)
	span := 5 * time.Second
	if want == "birthday" {
		span = 20 * time.Second
	}
	var found int
	var slowest time.Duration
	most := 0
	for seed := range uint64(seeds) {
		m := meet(t, 1000+seed, x, y, span)
		switch {
		case m.crossed == want, want != "" && m.crossed == "plain": // luck: a port asked for anyway
			found++
		case m.crossed != "" || want != "birthday":
			t.Errorf("seed %d: crossed %q, want %q\n%s", 1000+seed, m.crossed, want, m.story)
		}
		slowest, most = max(slowest, m.after), max(most, m.probes)
	}
	t.Logf("%d of %d crossed %q, after %v and %d probes at most", found, seeds, want, slowest, most)
	// Of n searches one in three hundred fails; that more than n/10+3 do is a fault.
	if failed := seeds - found; want == "birthday" && failed > seeds/10+3 {
		t.Errorf("%d of %d searches found nothing", failed, seeds)
	}
}
