package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	soakPort   = 9
	soakSize   = 1200
	soakRate   = 20e6 // bit/s each way
	soakBuffer = 4 << 20
	soakTick   = 2 * time.Millisecond
	// soakBurst is how many packets are sent at once by a sender that was kept
	// waiting: far fewer than the queue of a TUN.
	soakBurst = 32
	// soakBegin is time enough for both ends to listen.
	soakBegin = 3 * time.Second
	// soakEnd is how long no packet must come for the other end to be done.
	soakEnd = 5 * time.Second
)

// counts is what one end of a soak sent and received.
type counts struct {
	Sent, Received uint64   // different ones
	Late           uint64   // that came after a later one
	Twice          uint64   //
	Missing        []string // the first holes in the numbers received
}

// exchange sends numbered datagrams from one address to another, and counts those
// that come from there. It runs inside the lab, at both ends, and prints counts.
func exchange(ctx context.Context, lasting time.Duration, from, to string) error {
	addr, err := net.ResolveUDPAddr("udp", fmt.Sprintf("%s:%d", to, soakPort))
	if err != nil {
		return err
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(from), Port: soakPort})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := enlarge(conn); err != nil {
		return err
	}
	time.Sleep(soakBegin)
	var c counts
	total := uint64(lasting.Seconds() * soakRate / 8 / soakSize)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { c.Sent, err = emit(ctx, conn, addr, total); return err })
	var got []bool
	group.Go(func() (err error) { got, err = c.absorb(conn, total, time.Now().Add(lasting)); return err })
	if err := group.Wait(); err != nil {
		return err
	}
	c.Missing = holes(got, 20)
	return json.NewEncoder(os.Stdout).Encode(c)
}

// enlarge gives a socket room for what arrives while its reader has to wait, as
// only root may.
func enlarge(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		if set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, soakBuffer); set == nil {
			set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, soakBuffer)
		}
	})
	if err != nil {
		return err
	}
	return set
}

// emit sends total datagrams at soakRate, and returns how many it sent.
func emit(ctx context.Context, conn *net.UDPConn, to *net.UDPAddr, total uint64) (sent uint64, err error) {
	b := make([]byte, soakSize)
	begun := time.Now()
	tick := time.NewTicker(soakTick)
	defer tick.Stop()
	for sent < total {
		due := min(total, uint64(time.Since(begun).Seconds()*soakRate/8/soakSize), sent+soakBurst)
		for ; sent < due; sent++ {
			binary.BigEndian.PutUint64(b, sent)
			if _, err := conn.WriteToUDP(b, to); err != nil {
				return sent, err
			}
		}
		select {
		case <-ctx.Done():
			return sent, ctx.Err()
		case <-tick.C:
		}
	}
	return sent, nil
}

// absorb counts what comes until nothing has come for a while after the time that
// sending is to take, and tells which numbers came.
func (c *counts) absorb(conn *net.UDPConn, total uint64, until time.Time) ([]bool, error) {
	got := make([]bool, total)
	var next uint64
	b := make([]byte, soakSize+1)
	for {
		deadline := time.Now().Add(soakEnd)
		if deadline.Before(until.Add(soakEnd)) {
			deadline = until.Add(soakEnd)
		}
		if err := conn.SetReadDeadline(deadline); err != nil {
			return nil, err
		}
		n, _, err := conn.ReadFromUDP(b)
		switch {
		case os.IsTimeout(err):
			return got, nil
		case err != nil:
			return nil, err
		case n != soakSize:
			return nil, fmt.Errorf("a datagram of %d bytes came", n)
		}
		i := binary.BigEndian.Uint64(b)
		switch {
		case i >= total:
			return nil, fmt.Errorf("datagram %d of %d came", i, total)
		case got[i]:
			c.Twice++
			continue
		case i < next:
			c.Late++
		default:
			next = i + 1
		}
		got[i] = true
		c.Received++
	}
}

// holes names the first runs of numbers that are missing.
func holes(got []bool, most int) (names []string) {
	for i := 0; i < len(got) && len(names) < most; i++ {
		if got[i] {
			continue
		}
		begin := i
		for i < len(got) && !got[i] {
			i++
		}
		second := float64(begin) / (soakRate / 8 / soakSize)
		names = append(names, fmt.Sprintf("%d from %d on (at %.1f s)", i-begin, begin, second))
	}
	return names
}
