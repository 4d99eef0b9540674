package nattest_test

import (
	"math"
	"testing"
	"time"

	"meshd/punch/nattest"
)

// arrival is when the numbered packet of a flight came, after it was sent.
type arrival struct {
	number int
	took   time.Duration
}

// flight sends numbered packets over a link, one each gap, and returns them as they
// arrive.
func flight(t *testing.T, l nattest.Link, count, size int, gap time.Duration) []arrival {
	t.Helper()
	var arrivals []arrival
	bubble(t, nattest.Config{Seed: 7}, func(w *world) {
		from := w.Host(l, prefix("203.0.113.1/32"))
		to := w.Host(nattest.Link{}, prefix("203.0.113.2/32"))
		a, b := listen(t, from, endpoint("0.0.0.0:1")), listen(t, to, endpoint("0.0.0.0:1"))
		sent := make([]time.Time, count)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				text, _, err := read(b)
				if err != nil {
					return
				}
				number := int(text[0])<<8 | int(text[1])
				arrivals = append(arrivals, arrival{number, time.Since(sent[number])})
			}
		}()
		for i := range count {
			sent[i] = time.Now()
			text := make([]byte, size)
			text[0], text[1] = byte(i>>8), byte(i)
			send(t, a, endpoint("203.0.113.2:1"), string(text))
			time.Sleep(gap)
		}
		time.Sleep(5 * time.Second)
		b.Close()
		<-done
	})
	return arrivals
}

// overtaken counts the packets that came after a later one.
func overtaken(all []arrival) (n int) {
	highest := -1
	for _, a := range all {
		if a.number < highest {
			n++
		}
		highest = max(highest, a.number)
	}
	return n
}

func TestDelay(t *testing.T) {
	for _, a := range flight(t, nattest.Link{Delay: 30 * time.Millisecond}, 100, 10, time.Millisecond) {
		if want := 30*time.Millisecond + time.Microsecond; a.took != want {
			t.Fatalf("packet %d took %v, want %v", a.number, a.took, want)
		}
	}
}

// TestJitter: packets far apart take delay to delay plus jitter, evenly.
func TestJitter(t *testing.T) {
	const count = 2000
	all := flight(t, nattest.Link{Delay: 30 * time.Millisecond, Jitter: 20 * time.Millisecond}, count, 10, 50*time.Millisecond)
	var sum time.Duration
	for _, a := range all {
		if a.took < 30*time.Millisecond || a.took > 50*time.Millisecond+time.Microsecond {
			t.Fatalf("packet %d took %v", a.number, a.took)
		}
		sum += a.took
	}
	if mean := sum / count; (mean - 40*time.Millisecond).Abs() > time.Millisecond {
		t.Errorf("mean is %v, want 40ms", mean)
	}
}

func TestJitterKeepsOrder(t *testing.T) {
	all := flight(t, nattest.Link{Delay: 30 * time.Millisecond, Jitter: 20 * time.Millisecond}, 1000, 10, time.Millisecond)
	if n := overtaken(all); n != 0 || len(all) != 1000 {
		t.Errorf("%d of %d were overtaken", n, len(all))
	}
}

func TestReorder(t *testing.T) {
	all := flight(t, nattest.Link{Delay: 30 * time.Millisecond, Reorder: 0.1}, 1000, 10, time.Millisecond)
	if n := overtaken(all); n < 50 || n > 130 || len(all) != 1000 {
		t.Errorf("%d of %d were overtaken, want about 100 of 1000", n, len(all))
	}
}

// TestLoss: the share lost is within four standard deviations of what was asked for,
// and losses come alone: the next packet's fate is its own.
func TestLoss(t *testing.T) {
	for _, loss := range []float64{0, 0.01, 0.2, 0.5, 1} {
		const count = 4000
		all := flight(t, nattest.Link{Loss: loss}, count, 10, time.Millisecond)
		lost := float64(count - len(all))
		if limit := 4 * math.Sqrt(count*loss*(1-loss)); math.Abs(lost-count*loss) > limit {
			t.Errorf("loss %v: lost %v of %d, want within %.0f", loss, lost, count, limit)
		}
		pairs := 0.0 // of packets that both arrived
		for i := range all {
			if i > 0 && all[i].number == all[i-1].number+1 {
				pairs++
			}
		}
		if want := count * (1 - loss) * (1 - loss); math.Abs(pairs-want) > 0.03*count {
			t.Errorf("loss %v: %v pairs arrived, want %v", loss, pairs, want)
		}
	}
}

// TestRate: 1228 B with their headers at 1 Mbit/s leave every 10 ms, and 200 ms of them
// wait at most.
func TestRate(t *testing.T) {
	all := flight(t, nattest.Link{Rate: 1_000_000}, 100, 1250-28, time.Nanosecond)
	if len(all) < 20 || len(all) > 22 {
		t.Errorf("%d arrived, want those of 200 ms", len(all))
	}
	for i, a := range all {
		if want := time.Duration(i+1) * 10 * time.Millisecond; (a.took - want).Abs() > time.Millisecond {
			t.Errorf("packet %d took %v, want %v", a.number, a.took, want)
		}
	}
	if all := flight(t, nattest.Link{Rate: 1_000_000}, 100, 1250-28, 10*time.Millisecond); len(all) != 100 {
		t.Errorf("%d of 100 arrived at the link's own rate", len(all))
	}
}

func TestMTU(t *testing.T) {
	for size, want := range map[int]int{1472: 1, 1473: 0} {
		if got := len(flight(t, nattest.Link{MTU: 1500}, 1, size, 0)); got != want {
			t.Errorf("%d bytes of payload: %d arrived, want %d", size, got, want)
		}
	}
}

// TestSetLink: a link may change while packets go over it.
func TestSetLink(t *testing.T) {
	bubble(t, nattest.Config{}, func(w *world) {
		h, sites := w.Place(wan, nattest.Linux)
		c := listen(t, h, endpoint("0.0.0.0:41641"))
		to := w.server(3478)[0].LocalAddr()
		for _, tt := range []struct {
			name string
			set  func()
			want bool
		}{
			{"host's link down", func() { h.SetLink(nattest.Link{Loss: 1}) }, false},
			{"and up", func() { h.SetLink(nattest.LAN) }, true},
			{"gateway's link down", func() { sites[0].SetLink(nattest.Link{Loss: 1}) }, false},
			{"and up", func() { sites[0].SetLink(wan) }, true},
		} {
			tt.set()
			if got := w.reaches(c, to); got != tt.want {
				t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
			}
		}
	})
}
