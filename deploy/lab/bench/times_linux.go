package main

import (
	"bufio"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"meshd/deploy/lab/mesh"
)

// times measures how long a user waits, on sites 10 ms from the core.
func (b *bench) times() error {
	w, err := mesh.NewWorld(b.meshd, 10*time.Millisecond)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Hub.Start(b.ctx); err != nil {
		return err
	}
	for _, a := range w.Agents() {
		key, err := w.Hub.Join(b.ctx, "--approved")
		if err != nil {
			return err
		}
		begun := time.Now()
		if _, err := a.Up(b.ctx, key); err != nil {
			return err
		}
		b.add("join: meshd up on the "+a.Host.Name, time.Since(begun).Seconds(), "s", "command to prompt")
	}
	if err := b.firstReply(w); err != nil {
		return err
	}
	for _, s := range []struct {
		name string
		do   func() error
		undo func() error
	}{
		{"silence: direct path dies", func() error { return w.Lab.Cut(mesh.HomeAAddr, mesh.HomeBAddr) }, func() error { return w.Lab.Heal(mesh.HomeAAddr, mesh.HomeBAddr) }},
		{"silence: gateway forgets its mappings", w.Sites["home-a"].ForgetMappings, nil},
		{"silence: far gateway forgets its mappings", w.Sites["home-b"].ForgetMappings, nil},
		{"silence: host's address changes", func() error { return w.Laptop.Host.Readdress(netip.MustParseAddr("192.168.1.77")) }, nil},
		{"silence: hub killed", w.Hub.Kill, func() error { return w.Hub.Start(b.ctx) }},
	} {
		if err := b.silence(w, s.name, s.do); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if s.undo != nil {
			if err := s.undo(); err != nil {
				return err
			}
		}
		if err := w.Laptop.AwaitPath(b.ctx, 90*time.Second, "nas", "direct"); err != nil {
			return err
		}
	}
	return b.restart(w)
}

// firstReply measures a pre-punched pair: the first ICMP echo after both are up.
func (b *bench) firstReply(w *mesh.World) error {
	if err := w.Laptop.AwaitPath(b.ctx, 10*time.Second, "nas", "direct"); err != nil {
		return err
	}
	addr, err := w.Laptop.Address(b.ctx, "nas")
	if err != nil {
		return err
	}
	out, err := w.Laptop.Host.Run(b.ctx, "ping", "-c", "1", addr)
	if err != nil {
		return err
	}
	base, err := w.Laptop.Host.Run(b.ctx, "ping", "-c", "3", mesh.HomeBAddr.String())
	if err != nil {
		base, err = w.Laptop.Host.Run(b.ctx, "ping", "-c", "3", mesh.HubAddr.String())
		if err != nil {
			return err
		}
	}
	b.add("first reply, pre-punched pair", echoTime(out), "ms", "plain RTT to the hub "+strconv.FormatFloat(echoTime(base), 'f', 1, 64)+" ms")
	return nil
}

var timePattern = regexp.MustCompile(`time=([0-9.]+) ms`)

// echoTime is the first round trip that ping printed, in milliseconds.
func echoTime(out string) float64 {
	m := timePattern.FindStringSubmatch(out)
	if m == nil {
		return -1
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return -1
	}
	return v
}

// silence pings every 10 ms across an event and reports the longest pause
// between two replies.
func (b *bench) silence(w *mesh.World, name string, do func() error) error {
	addr, err := w.Laptop.Address(b.ctx, "nas")
	if err != nil {
		return err
	}
	ping := w.Laptop.Host.Command(b.ctx, "ping", "-n", "-i", "0.01", "-c", "600", "-W", "1", addr)
	out, err := ping.StdoutPipe()
	if err != nil {
		return err
	}
	if err := ping.Start(); err != nil {
		return err
	}
	defer ping.Wait()
	var last time.Time
	var longest time.Duration
	replies := 0
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if !strings.Contains(lines.Text(), "time=") {
			continue
		}
		now := time.Now()
		if replies++; replies == 50 {
			if err := do(); err != nil {
				return err
			}
		}
		if !last.IsZero() {
			longest = max(longest, now.Sub(last))
		}
		last = now
	}
	if replies < 100 {
		return fmt.Errorf("only %d replies of 600: traffic never came back", replies)
	}
	b.add(name, float64(longest.Milliseconds()), "ms", fmt.Sprintf("longest pause between replies, %d of 600 answered", replies))
	return nil
}

// restart measures an agent that starts again while the hub is away.
func (b *bench) restart(w *mesh.World) error {
	if err := w.Hub.Kill(); err != nil {
		return err
	}
	if err := w.Nas.Kill(b.ctx); err != nil {
		return err
	}
	begun := time.Now()
	if _, err := w.Nas.Up(b.ctx); err != nil {
		return err
	}
	if err := w.Laptop.AwaitPing(b.ctx, 30*time.Second, "nas"); err != nil {
		return err
	}
	b.add("agent restarted, hub away: reached again", time.Since(begun).Seconds(), "s", "from meshd up on")
	return nil
}
