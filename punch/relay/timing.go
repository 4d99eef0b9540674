package relay

import (
	"slices"
	"time"
)

const (
	// keepalive is below the 30 s after which impatient NATs forget a mapping.
	keepalive = 22 * time.Second
	// minRetryGap parts the repetitions of a keepalive on all but slow paths.
	minRetryGap = 250 * time.Millisecond
	// maxGap is where the search for a relay stays: so long may one that is back go
	// unnoticed. 108 bytes each time are not worth a longer wait.
	maxGap = 5 * time.Second
)

// Gaps that follow one HELLO after the other.
var (
	searchGaps  = append([]time.Duration{100 * time.Millisecond, 200 * time.Millisecond, time.Second}, slices.Repeat([]time.Duration{2 * time.Second}, 8)...)
	backoffGaps = searchGaps[2:]
	kickGaps    = []time.Duration{50 * time.Millisecond, 100 * time.Millisecond}
)

// retryGaps follow a keepalive: three more, and time for the last to be
// answered. No RTT is too long to keep a session.
func (c *Client) retryGaps() []time.Duration {
	gap := max(minRetryGap, c.rtt)
	return []time.Duration{gap, gap, gap, gap}
}
