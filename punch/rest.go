package punch

import "time"

const (
	restSigns = 2                // rounds in a row that say that a path at rest was forgotten
	restBeat  = 15 * time.Second // heartbeat then
	restLeast = 10 * time.Second // and at least, should that be too seldom, too
	restRound = 8 * time.Second  // more than this since the last heartbeat: the path was at rest
)

// rest is what a path has learnt of how long it may be at rest: gateways that
// forget sooner than RFC 4787 allows are found by what they drop. It holds for
// the network that we are in.
type rest struct {
	lost int           // rounds in a row in which the first heartbeat went unanswered
	beat time.Duration // at least this often; 0: nothing was learnt
}

// round takes in whether the path was there still after it had been at rest.
func (r *rest) round(kept bool) {
	if kept {
		r.lost = 0
		return
	}
	if r.lost++; r.lost < restSigns {
		return
	}
	r.lost = 0
	if r.beat == 0 {
		r.beat = restBeat
	} else {
		r.beat = restLeast
	}
}

// cap is d, or less if the path has to be asked more often.
func (r *rest) cap(d time.Duration) time.Duration {
	if r.beat == 0 {
		return d
	}
	return min(d, r.beat)
}
