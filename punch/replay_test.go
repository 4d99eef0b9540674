package punch

import "testing"

func TestReplays(t *testing.T) {
	type probe struct {
		boot, seq uint64
		fresh     bool
	}
	tests := []struct {
		name   string
		probes []probe
	}{
		{"in order", []probe{{1, 1, true}, {1, 2, true}, {1, 3, true}}},
		{"repeated", []probe{{1, 1, true}, {1, 1, false}}},
		{"zero", []probe{{1, 0, true}, {1, 0, false}}},
		{"reordered", []probe{{1, 9, true}, {1, 7, true}, {1, 8, true}, {1, 7, false}}},
		{"edge of the window", []probe{{1, 100, true}, {1, 37, true}, {1, 36, false}}},
		{"jump clears the window", []probe{{1, 1, true}, {1, 1000, true}, {1, 999, true}, {1, 1, false}}},
		{"jump by exactly the window", []probe{{1, 1, true}, {1, 65, true}, {1, 2, true}, {1, 1, false}}},
		{"restart", []probe{{1, 500, true}, {2, 1, true}, {2, 1, false}}},
		{"old boot stays refused", []probe{{1, 5, true}, {2, 1, true}, {1, 5, false}, {1, 6, true}}},
		{"last number", []probe{{1, ^uint64(0), true}, {1, ^uint64(0), false}, {1, 1, false}}},
		{"four boots are remembered", []probe{
			{1, 1, true}, {2, 1, true}, {3, 1, true}, {4, 1, true},
			{1, 1, false}, {2, 1, false}, {3, 1, false}, {4, 1, false},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r replays
			for i, p := range tt.probes {
				if got := r.fresh(p.boot, p.seq); got != p.fresh {
					t.Errorf("probe %d (boot %d, seq %d): fresh = %v, want %v", i, p.boot, p.seq, got, p.fresh)
				}
			}
		})
	}
}
