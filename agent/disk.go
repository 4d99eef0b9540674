package agent

import (
	"time"

	"meshd/agent/localapi"
)

// clockStep is the least difference of clocks that is worth a write. Probes ask
// for the right hour only, expiry for the right minute.
const clockStep = 5 * time.Second

// saveDelay gathers the deltas that come in a bunch into one write.
const saveDelay = time.Second

// saveState writes the state. A full disk is no reason to stop: the mesh runs
// from memory, and what is on disk stays whole.
func (l *loop) saveState() {
	if err := l.folder.save(l.state); err != nil {
		l.log.Error("state not saved", "err", err)
	}
}

// keep makes next the state that somebody asked for. What can't be saved, and so
// would be forgotten, doesn't happen.
func (l *loop) keep(next state) error {
	if err := l.folder.save(next); err != nil {
		return localapi.WithHint(err, "nothing was changed; make room on its disk if that is what lacks")
	}
	l.state = next
	return nil
}

// mapChanged has the map written: the first one at once, later ones together
// with what follows within the second.
func (l *loop) mapChanged(first bool) {
	switch {
	case first:
		l.saveMap()
	case !l.unsaved:
		l.unsaved = true
		l.save.Reset(saveDelay)
	}
}

func (l *loop) saveMap() {
	l.unsaved = false
	if l.netmap == nil {
		return
	}
	if err := l.folder.saveMap(savedMap{Version: stateVersion, Map: l.netmap, Relays: l.relays}); err != nil {
		l.log.Error("map not saved", "err", err)
	}
}

// seedClock takes the hub's time from a map message before punch has measured
// it; the way of the message makes it late, which does not matter here.
func (l *loop) seedClock(offset time.Duration) {
	if l.plane == nil {
		l.setClock(offset)
	}
}

// learnClock keeps what punch measured.
func (l *loop) learnClock() {
	if offset := l.plane.punch.ClockOffset(); offset != 0 {
		l.setClock(offset)
	}
}

func (l *loop) setClock(offset time.Duration) {
	if (offset - l.state.ClockOffset).Abs() < clockStep {
		return
	}
	l.state.ClockOffset = offset
	l.saveState()
}
