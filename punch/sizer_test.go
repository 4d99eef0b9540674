package punch

import (
	"slices"
	"testing"
	"time"
)

// line is a way that carries datagrams up to a size.
type line struct {
	s     *sizer
	limit int // below 0: nothing gets through
	now   time.Time
	txid  uint64
	sent  []int
	starv bool
}

// run lets d pass, answering what gets through after a round trip of 40 ms.
func (c *line) run(d time.Duration) {
	const rtt = 40 * time.Millisecond
	type pong struct {
		at   time.Time
		txid uint64
	}
	var pongs []pong
	for end := c.now.Add(d); c.now.Before(end); c.now = c.now.Add(10 * time.Millisecond) {
		for len(pongs) > 0 && !c.now.Before(pongs[0].at) {
			c.s.answered(c.now, pongs[0].txid)
			pongs = pongs[1:]
		}
		for _, size := range c.s.next(c.now, c.starv, rtt) {
			c.txid++
			c.sent = append(c.sent, size)
			c.s.sent(size, c.txid)
			if size <= c.limit {
				pongs = append(pongs, pong{c.now.Add(rtt), c.txid})
			}
		}
	}
}

func newLine(limit int) *line {
	now := time.Unix(1e9, 0)
	return &line{s: newSizer(now, defaultLargest), limit: limit, now: now}
}

func TestSizerFinds(t *testing.T) {
	for _, test := range []struct {
		name   string
		limit  int
		want   int
		within time.Duration
	}{
		{"Ethernet, IPv4", 1472, 1444, 100 * time.Millisecond},
		{"Ethernet, IPv6, by relay", 1444, 1444, 100 * time.Millisecond},
		{"jumbo frames", 8972, 1444, 100 * time.Millisecond},
		{"tunnel of 1400, IPv4", 1372, 1360, 1500 * time.Millisecond},
		{"link of 1280, IPv4", 1252, 1248, 2500 * time.Millisecond},
		{"link of 1280, IPv6, by relay", 1224, 1216, 2500 * time.Millisecond},
		{"link of 576", 548, 544, 2500 * time.Millisecond},
		{"only small ones", 200, sizeFloor, 4 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newLine(test.limit)
			c.run(test.within)
			if c.s.known != test.want {
				t.Errorf("got %d, want %d", c.s.known, test.want)
			}
		})
	}
}

// A way that answers nothing is asked ever more seldom, and believed nothing of.
func TestSizerDeadWay(t *testing.T) {
	c := newLine(-1)
	c.run(10 * time.Minute)
	if c.s.known != 0 || len(c.sent) > 60 {
		t.Errorf("got size %d after %d probes", c.s.known, len(c.sent))
	}
	c.limit = 1472
	c.run(11 * time.Minute)
	if c.s.known != defaultLargest {
		t.Errorf("got %d once it lives", c.s.known)
	}
}

// A way that shrinks under traffic starves and is checked, an idle one is measured
// when its time has come; so is one that grows.
func TestSizerWayChanges(t *testing.T) {
	for _, test := range []struct {
		name     string
		starves  bool
		from, to int
		within   time.Duration
		want     int
	}{
		{"shrinks, starving", true, 1472, 1372, 20 * time.Second, 1360},
		{"shrinks, idle", false, 1472, 1372, 11 * time.Minute, 1360},
		{"grows", false, 1372, 1472, 3 * time.Minute, 1444},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newLine(test.from)
			c.starv = test.starves
			c.run(5 * time.Second)
			c.limit = test.to
			c.run(test.within)
			if c.s.known != test.want {
				t.Errorf("got %d, want %d", c.s.known, test.want)
			}
		})
	}
}

// Once a way is known, an idle one costs two probes in ten minutes.
func TestSizerAtRest(t *testing.T) {
	c := newLine(1472)
	c.run(time.Second)
	c.sent = nil
	c.run(time.Hour)
	if len(c.sent) > 12 {
		t.Errorf("%d probes in an hour: %v", len(c.sent), c.sent)
	}
}

// A single lost check is no reason to measure anew.
func TestSizerLostCheck(t *testing.T) {
	c := newLine(1472)
	c.starv = true
	c.run(time.Second)
	c.limit = -1
	c.run(sizeHurry)
	c.limit = 1472
	c.sent = nil
	c.run(20 * time.Second)
	if slices.Contains(c.sent, 0) || c.s.known != defaultLargest {
		t.Errorf("measured anew: %v", c.sent)
	}
}

// An answer that is late is one: the ladder did not wait for the largest.
func TestSizerLateAnswer(t *testing.T) {
	c := newLine(1252)
	c.run(2 * time.Second)
	if c.s.known != 1248 {
		t.Fatalf("got %d, want 1248", c.s.known)
	}
	for txid, size := range c.s.asked {
		if size == 1360 {
			c.s.answered(c.now, txid)
		}
	}
	if c.s.known != 1360 {
		t.Errorf("got %d, want 1360", c.s.known)
	}
}

// A way that shrinks while data goes out is measured before TCP repeats itself for
// the third time, 1.4 s after the first packet that was lost.
func TestSizerIsQuick(t *testing.T) {
	c := newLine(1472)
	c.run(time.Second)
	c.limit, c.starv = 1252, true
	c.run(1400*time.Millisecond - starvedFor)
	if c.s.known != 1248 {
		t.Errorf("got %d, want 1248", c.s.known)
	}
}

// It is no slower where there was a silence before that meant nothing.
func TestSizerIsQuickAgain(t *testing.T) {
	c := newLine(1472)
	c.run(time.Second)
	c.starv = true
	c.run(100 * time.Millisecond) // time enough for a check and its answer
	c.starv = false
	c.run(sizeRelief)
	c.limit, c.starv = 1252, true
	c.run(1400*time.Millisecond - starvedFor)
	if c.s.known != 1248 {
		t.Errorf("got %d, want 1248", c.s.known)
	}

	t.Log("who never hears anything asks now and then")
	c = newLine(1472)
	c.run(time.Second)
	c.starv, c.sent = true, nil
	c.run(time.Minute)
	if n := int(time.Minute / sizeBeat); len(c.sent) > n+1 {
		t.Errorf("%d checks in a minute, want %d", len(c.sent), n)
	}
}

// The peer has found that less fits than before: here, too, that is looked into. If
// it has found what is known, it is not, for then both would go on and on.
func TestSizerLookedAt(t *testing.T) {
	c := newLine(1372)
	c.run(30 * time.Second)
	c.limit = 1252
	c.run(30 * time.Second)
	if c.s.known != 1360 {
		t.Fatalf("known is %d, want 1360, as nothing was lost", c.s.known)
	}
	for _, look := range []struct {
		first, want int
		measures    bool
	}{{1248, 1248, true}, {1248, 1248, false}, {1360, 1248, false}, {1216, 1248, true}} {
		c.sent = nil
		for _, size := range sizes { // as they arrive
			if 0 < size && size <= look.first {
				c.s.look(c.now, size)
			}
		}
		c.run(3 * time.Second)
		if got := len(c.sent) > 0; got != look.measures || c.s.known != look.want {
			t.Errorf("the peer's largest is %d: measures %v, want %v; known is %d, want %d", look.first, got, look.measures, c.s.known, look.want)
		}
	}
}

func TestSizerRefused(t *testing.T) {
	c := newLine(1472)
	c.run(time.Second)
	c.limit = 1252
	c.s.refuse(c.now)
	c.run(3 * time.Second)
	if c.s.known != 1248 {
		t.Errorf("got %d, want 1248", c.s.known)
	}
}

func TestSizingLargest(t *testing.T) {
	now := time.Unix(1e9, 0)
	relay, direct := sizedWay{}, sizedWay{route: routeTo(ap("203.0.113.9:1"))}
	s := make(sizing)
	s.get(relay, now, defaultLargest).known = 1360
	s.get(direct, now, defaultLargest).known = 1444
	for _, test := range []struct {
		ways []sizedWay
		want int
	}{
		{nil, 0},
		{[]sizedWay{direct}, 1444},
		{[]sizedWay{relay}, 1360},
		{[]sizedWay{direct, relay}, 1360},
		{[]sizedWay{{route: routeTo(ap("203.0.113.9:2"))}}, 0},
		{[]sizedWay{direct, {route: routeTo(ap("203.0.113.9:2"))}}, 1444},
	} {
		if got := s.largest(test.ways); got != test.want {
			t.Errorf("%v: got %d, want %d", test.ways, got, test.want)
		}
	}
}
