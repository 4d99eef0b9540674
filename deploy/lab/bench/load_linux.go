package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"meshd/deploy/lab/mesh"
)

// load is a kind of traffic from a to b.
type load struct {
	name string
	args []string // for iperf3
}

var (
	oneStream = load{"TCP, one stream", nil}
	loads     = []load{
		oneStream,
		{"TCP, four streams", []string{"-P", "4"}},
		{"TCP, reverse", []string{"-R"}},
		{"UDP 1200 B, full speed", []string{"-u", "-b", "0", "-l", "1200"}},
		{"UDP 1200 B at 200 Mbit/s", []string{"-u", "-b", "200M", "-l", "1200"}},
	}
	fallbackLoads = []load{loads[0], loads[1], loads[3]}
)

// moved is what a load got through a tunnel.
type moved struct {
	rate float64 // Gbit/s, as received
	cost float64 // CPU seconds per GB (10^9 bytes) received, of all processes counted
}

// run puts a load through a tunnel for three seconds. The processes counted are
// the tunnel's two ends, or those given.
func (p *pair) run(b *bench, t tunnel, l load, count ...int) (moved, error) {
	if len(count) == 0 {
		count = t.ends[:]
	}
	rate, costs, err := p.runGroups(b, t, l, count)
	if err != nil {
		return moved{}, err
	}
	return moved{rate, costs[0]}, nil
}

// runGroups is run for several groups of processes, each with a cost of its own.
func (p *pair) runGroups(b *bench, t tunnel, l load, groups ...[]int) (rate float64, costs []float64, err error) {
	var before []time.Duration
	for _, pids := range groups {
		spent, err := cpuTimes(pids)
		if err != nil {
			return 0, nil, err
		}
		before = append(before, spent)
	}
	rate, bytes, err := p.iperf(b, t.addr, l.args...)
	if err != nil {
		return 0, nil, fmt.Errorf("%s to %s: %w", l.name, t.addr, err)
	}
	for i, pids := range groups {
		spent, err := cpuTimes(pids)
		if err != nil {
			return 0, nil, err
		}
		costs = append(costs, (spent-before[i]).Seconds()/(bytes/1e9))
	}
	return rate, costs, nil
}

func cpuTimes(pids []int) (sum time.Duration, err error) {
	for _, pid := range pids {
		t, err := cpuTime(pid)
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}

// iperf measures traffic from a to an address of b for three seconds, as received.
func (p *pair) iperf(b *bench, addr string, args ...string) (gbits, bytes float64, err error) {
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	server := p.b.Host.Command(ctx, "iperf3", "-s", "-B", addr)
	if err := server.Start(); err != nil {
		cancel()
		return 0, 0, err
	}
	defer server.Wait() // killed by then
	defer cancel()
	err = mesh.Await(ctx, 25*time.Second, func() error {
		out, err := p.a.Host.Run(ctx, "iperf3", append([]string{"-c", addr, "-t", "3", "-J"}, args...)...)
		if err != nil {
			return err
		}
		gbits, bytes, err = received(out)
		if err == nil && bytes == 0 {
			return errors.New("iperf3 ended at once and moved nothing") // now and then it does, over any tunnel
		}
		return err
	})
	return gbits, bytes, err
}

// received reads iperf3's JSON.
func received(out string) (gbits, bytes float64, err error) {
	var doc struct {
		End struct {
			Received struct {
				Bytes   float64 `json:"bytes"`
				Seconds float64 `json:"end"`
				Lost    float64 `json:"lost_percent"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		return 0, 0, fmt.Errorf("read iperf3's result: %w", err)
	}
	r := doc.End.Received
	if r.Seconds == 0 {
		return 0, 0, nil
	}
	return r.Bytes * 8 / 1e9 / r.Seconds, r.Bytes, nil
}

var averagePattern = regexp.MustCompile(`= [0-9.]+/([0-9.]+)/`)

// roundTrip is the mean of 300 pings through a tunnel, in milliseconds.
func (p *pair) roundTrip(b *bench, t tunnel) (float64, error) {
	out, err := p.a.Host.Run(b.ctx, "ping", "-q", "-i", "0.008", "-c", "300", t.addr)
	if err != nil {
		return 0, err
	}
	m := averagePattern.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("no round trip in what ping printed: %q", out)
	}
	return strconv.ParseFloat(m[1], 64)
}

// roundTripLoaded is roundTrip while one TCP stream takes all it can get.
func (p *pair) roundTripLoaded(b *bench, t tunnel) (float64, error) {
	done := make(chan error, 1)
	go func() {
		_, _, err := p.iperf(b, t.addr)
		done <- err
	}()
	rtt, err := p.roundTrip(b, t)
	return rtt, errors.Join(err, <-done)
}
