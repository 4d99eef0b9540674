package agent

import (
	"context"
	"sync/atomic"
)

// task is a goroutine that somebody owns: who starts it also stops it.
type task struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended
	err    error         // why; to be read after done
}

func start(ctx context.Context, run func(context.Context) error) *task {
	ctx, cancel := context.WithCancel(ctx)
	t := &task{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		t.err = run(ctx)
	}()
	return t
}

// stop ends the task and waits for that. A nil task has ended already.
func (t *task) stop() {
	if t != nil {
		t.cancel()
		<-t.done
	}
}

// wait returns when the task has ended by itself. A nil task has already.
func (t *task) wait() {
	if t != nil {
		<-t.done
	}
}

// ended is a channel to wait on; of a nil task it blocks forever.
func (t *task) ended() <-chan struct{} {
	if t == nil {
		return nil
	}
	return t.done
}

// latest passes the newest of many values to one reader, who may be slow. Safe
// for concurrent use; no writer ever waits.
type latest[T any] struct {
	value atomic.Pointer[T]
	wake  chan struct{} // capacity 1
}

func newLatest[T any]() *latest[T] { return &latest[T]{wake: make(chan struct{}, 1)} }

func (l *latest[T]) set(v T) {
	l.value.Store(&v)
	l.poke()
}

// poke makes the reader look again at what it has seen already.
func (l *latest[T]) poke() { signal(l.wake) }

// get returns nil before the first set.
func (l *latest[T]) get() *T { return l.value.Load() }

// signal leaves a token in a channel of capacity 1, once.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
