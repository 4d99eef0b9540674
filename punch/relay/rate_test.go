package relay

import (
	"testing"
	"time"

	"meshd/punch/wire"
)

// A member that sends at full speed has its rate forwarded, in bursts; others
// have theirs.
func TestRate(t *testing.T) {
	const rate, size = 1 << 20, 1000
	h := newHandler(ServerConfig{Directory: directory{}, Rate: rate}, 7, relayAddrs)
	s := &Server{handler: h}
	bindAt(t, start, h, alice, home)
	bindAt(t, start, h, bob, hotel)
	bindAt(t, start, h, carol, office)
	f := &forwarder{server: s}
	flood := func(now time.Time, from leg, pair wire.RelayID, datagrams int) (bytes int) {
		for range datagrams {
			f.takeUDP(now, from, data(7, pair, string(make([]byte, size-12))))
		}
		for _, g := range f.outbox.groups() {
			bytes += g.bytes
		}
		f.outbox.clear()
		f.last = run{}
		return bytes
	}
	for _, test := range []struct {
		what      string
		at        time.Duration
		from      leg
		pair      wire.RelayID
		datagrams int
		want      int // datagrams
	}{
		{"a full bucket is a quarter of a second's worth", 0, leg{0, home}, alice ^ bob, 1000, 262},
		{"carol has a bucket of her own", 0, leg{0, office}, carol ^ bob, 100, 100},
		{"a tenth of a second later", 100 * time.Millisecond, leg{0, home}, alice ^ bob, 1000, 104},
		{"after a pause the bucket is full, and no fuller", time.Minute, leg{0, home}, alice ^ bob, 1000, 262},
	} {
		if got := flood(start.Add(test.at), test.from, test.pair, test.datagrams) / size; got < test.want-1 || got > test.want+1 {
			t.Errorf("%s: %d datagrams, want %d", test.what, got, test.want)
		}
	}
	if f.tally.drops[DropLimited] == 0 {
		t.Error("no drop was counted")
	}
}

// Without a rate there is no limit.
func TestNoRate(t *testing.T) {
	if newTable(0).bucket() != nil {
		t.Error("a bucket without a rate")
	}
}
