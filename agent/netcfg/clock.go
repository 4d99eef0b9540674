package netcfg

import "time"

// Clock jumps are looked for this often, and told when they are longer than
// that. A host that slept for less keeps its mappings.
const (
	clockEvery = 5 * time.Second
	clockJump  = 5 * time.Second
)

// instant is a moment by two clocks: the wall's, which goes on while the host
// sleeps, and the monotonic, which (on Linux) does not.
type instant struct {
	wall time.Time
	mono time.Duration // since any fixed moment
}

// clock reads both clocks.
func clock(start time.Time) instant {
	now := time.Now()
	return instant{wall: now.Round(0), mono: now.Sub(start)}
}

// jump returns by how much the wall clock moved beyond the time that passed
// from a to b; 0 unless it is more than clockJump either way.
func jump(a, b instant) time.Duration {
	d := b.wall.Sub(a.wall) - (b.mono - a.mono)
	if d.Abs() <= clockJump {
		return 0
	}
	return d
}
