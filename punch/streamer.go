package punch

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"meshd/punch/relay"
)

// Times of the stream.
const (
	dialTimeout  = 15 * time.Second
	dialRetry    = time.Second // after a failed dial, doubled up to …
	dialRetryMax = 30 * time.Second
)

// streamer keeps a stream to the relay while one is wanted. The loop owns it;
// a task (one goroutine) dials and reads, and close waits for it.
type streamer struct {
	mux    *mux
	dial   func(context.Context) (RelayConn, error) // nil: there are no streams
	client *relay.Client                            // times the stream, and reads the relay's clock

	wanted   bool
	task     context.Context // nil: none runs
	cancel   context.CancelFunc
	conn     RelayConn // nil: not open
	dialAt   time.Time // not before; zero: never
	failures int

	events chan streamEvent
	tasks  sync.WaitGroup
}

// streamEvent says that a task's stream is open, or (no conn) at its end.
type streamEvent struct {
	task context.Context
	conn RelayConn
	err  error
}

func newStreamer(m *mux, dial func(context.Context) (RelayConn, error)) *streamer {
	return &streamer{
		mux: m, dial: dial, events: make(chan streamEvent),
		client: relay.NewClient(relay.ClientConfig{}),
	}
}

// start allows a stream from a time on.
func (s *streamer) start(at time.Time, c relay.ClientConfig) {
	s.client, s.dialAt, s.failures = relay.NewClient(c), at, 0
}

// stop ends the stream, and allows none until start.
func (s *streamer) stop() {
	s.hangUp()
	s.dialAt = time.Time{}
}

func (s *streamer) close() {
	s.stop()
	s.tasks.Wait()
}

func (s *streamer) hangUp() {
	if s.task != nil {
		s.cancel()
	}
	s.task, s.cancel, s.conn = nil, nil, nil
	s.client.Stop()
}

// run dials, or hangs up, and keeps the stream alive.
func (s *streamer) run(now time.Time, wanted bool) (event relay.Event) {
	s.wanted = wanted && s.dial != nil && !s.dialAt.IsZero()
	switch {
	case !s.wanted:
		s.hangUp()
		if !s.dialAt.IsZero() && now.After(s.dialAt) {
			s.dialAt, s.failures = now, 0 // at once when it is wanted again
		}
	case s.task == nil && !now.Before(s.dialAt):
		s.task, s.cancel = context.WithCancel(context.Background())
		s.tasks.Add(1)
		go s.work(s.task)
	}
	send, event := s.client.Step(now)
	s.send(send)
	return event
}

func (s *streamer) send(datagrams [][]byte) {
	if s.conn == nil {
		return
	}
	for _, b := range datagrams {
		s.conn.Send(b)
	}
}

// take takes the news of a task, and drops those of one that was hung up on.
func (s *streamer) take(now time.Time, ev streamEvent) {
	switch {
	case ev.task != s.task:
	case ev.conn != nil:
		s.conn, s.failures = ev.conn, 0
		s.send(s.client.Start(now, netip.AddrPort{}))
	default:
		s.hangUp()
		s.dialAt = now.Add(min(dialRetry<<min(s.failures, 8), dialRetryMax))
		s.failures++
	}
}

func (s *streamer) receive(now time.Time, b []byte) relay.Event {
	send, ev := s.client.Receive(now, b, netip.AddrPort{})
	s.send(send)
	return ev
}

// renew asks whether the stream still lives, or dials at once.
func (s *streamer) renew(now time.Time) {
	if s.conn != nil {
		s.send(s.client.Kick(now))
	} else if s.task == nil && now.Before(s.dialAt) {
		s.dialAt, s.failures = now, 0
	}
}

func (s *streamer) deadline() time.Time {
	if s.wanted && s.task == nil {
		return s.dialAt
	}
	return s.client.NextTimer()
}

// work dials and reads until the stream ends or task is cancelled.
func (s *streamer) work(task context.Context) {
	defer s.tasks.Done()
	s.report(streamEvent{task: task, err: s.carry(task)})
}

func (s *streamer) carry(task context.Context) error {
	ctx, cancel := context.WithTimeout(task, dialTimeout)
	defer cancel()
	conn, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(task, func() { conn.Close() })()
	s.report(streamEvent{task: task, conn: conn})
	for {
		b, err := conn.Read()
		if err != nil {
			return err
		}
		s.mux.inject(clone(b))
	}
}

func (s *streamer) report(ev streamEvent) {
	select {
	case s.events <- ev:
	case <-ev.task.Done():
	}
}
