package coordinator

import (
	"context"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	meshdv1 "meshd/coordinator/api/meshd/v1"
)

// queueLength is how many messages an agent may lag behind. Beyond it, a new
// full map is cheaper for both than the deltas.
const queueLength = 256

// frame is one message of a map stream, shared by all who get it.
type frame struct {
	message *meshdv1.MapResponse
	// encoded returns a message whose only content is the encoding of the real
	// one, so that marshalling it for each subscriber is a copy.
	encoded func() *meshdv1.MapResponse
}

func newFrame(message *meshdv1.MapResponse) *frame {
	return &frame{message: message, encoded: sync.OnceValue(func() *meshdv1.MapResponse {
		raw, err := proto.Marshal(message)
		if err != nil {
			return message
		}
		shell := &meshdv1.MapResponse{}
		shell.ProtoReflect().SetUnknown(raw)
		return shell
	})}
}

// form returns the message as a stream wants it: encoded, or to be written as
// JSON.
func (f *frame) form(plain bool) *meshdv1.MapResponse {
	if plain {
		return f.message
	}
	return f.encoded()
}

// subscriber is the fan-out's end of one map stream.
type subscriber struct {
	id    MemberID
	queue chan *frame
	done  chan struct{} // closed when the stream is to end
	err   error         // why; set before done is closed
	abort func()        // ends a write that is under way
}

func newSubscriber(id MemberID, abort func()) *subscriber {
	return &subscriber{id: id, queue: make(chan *frame, queueLength), done: make(chan struct{}), abort: abort}
}

// cut ends the stream. What is still queued is not sent.
func (s *subscriber) cut(err error) {
	s.err = err
	close(s.done)
	s.abort()
}

// next waits for the next message: what is queued, or at each beat, when there
// is nothing else to say, the time.
func (s *subscriber) next(ctx context.Context, beat <-chan time.Time) (*frame, error) {
	select {
	case <-s.done:
		return nil, s.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case f := <-s.queue:
		return f, nil
	case now := <-beat:
		return newFrame(&meshdv1.MapResponse{HubTimeUnixMs: now.UnixMilli()}), nil
	}
}

// fanout tells subscribers what changes in what they may see. It belongs to the
// coordinator's goroutine, and never waits.
type fanout struct {
	subscribers map[MemberID]*subscriber
	records     map[MemberID]*meshdv1.Member // of active members, as last told; never modified
	now         func() time.Time
	self        func(Member) *meshdv1.Self
	mesh        *meshdv1.Mesh
}

func newFanout(n *Network, now func() time.Time, relays []*meshdv1.Relay) *fanout {
	f := &fanout{
		subscribers: map[MemberID]*subscriber{},
		records:     map[MemberID]*meshdv1.Member{},
		now:         now,
		mesh:        meshRecord(n.settings, relays),
		self:        func(m Member) *meshdv1.Self { return selfRecord(m, relayKey(n.settings.RelaySecret, m.ID)) },
	}
	for id, m := range n.members {
		if m.Active() {
			f.records[id] = memberRecord(m)
		}
	}
	return f
}

// add takes a new stream in, and ends an older one of the same member.
func (f *fanout) add(s *subscriber, n *Network) {
	if old := f.subscribers[s.id]; old != nil {
		old.cut(Errorf(connect.CodeAborted, "", "this member has opened a newer map stream"))
	}
	f.subscribers[s.id] = s
	m, _ := n.Member(s.id)
	f.send(s, f.full(m, n))
}

// remove forgets a stream that has ended, and reports whether the member has no
// other one.
func (f *fanout) remove(s *subscriber) bool {
	if f.subscribers[s.id] == s {
		delete(f.subscribers, s.id)
	}
	return f.subscribers[s.id] == nil
}

// cutAll ends all streams.
func (f *fanout) cutAll(err error) {
	for id, s := range f.subscribers {
		delete(f.subscribers, id)
		s.cut(err)
	}
}

// announce tells everyone concerned that a member has become another. A zero
// Member stands for none.
func (f *fanout) announce(before, after Member, n *Network) {
	old := f.records[before.ID]
	delete(f.records, before.ID)
	if after.Active() {
		f.records[after.ID] = memberRecord(after)
	}
	f.tellSelf(before, after, n)
	if !proto.Equal(old, f.records[after.ID]) {
		f.tellOthers(before, after, n)
	}
}

func (f *fanout) tellSelf(before, after Member, n *Network) {
	s := f.subscribers[before.ID]
	switch {
	case s == nil:
	case after.ID == 0:
		delete(f.subscribers, before.ID)
		s.cut(notMember(n.settings.Mesh, "it was deleted"))
	case before.Standing != after.Standing:
		f.send(s, f.full(after, n))
	case !proto.Equal(f.self(before), f.self(after)):
		f.send(s, f.delta(&meshdv1.MapResponse{Self: f.self(after)}))
	}
}

func (f *fanout) tellOthers(before, after Member, n *Network) {
	put := f.delta(&meshdv1.MapResponse{Members: []*meshdv1.Member{f.records[after.ID]}})
	remove := f.delta(&meshdv1.MapResponse{Removed: []uint32{uint32(before.ID)}})
	for id, s := range f.subscribers {
		viewer := n.members[id]
		switch {
		case MaySee(viewer, after):
			f.send(s, put)
		case MaySee(viewer, before):
			f.send(s, remove)
		}
	}
}

// send queues a message, or cuts the subscriber off if it has fallen behind.
func (f *fanout) send(s *subscriber, m *frame) {
	select {
	case s.queue <- m:
	default:
		delete(f.subscribers, s.id)
		s.cut(Errorf(connect.CodeAborted, "", "this agent fell %d messages behind; it starts anew with a full map", queueLength))
	}
}

// tell sends a message to one member, if it listens.
func (f *fanout) tell(id MemberID, m *meshdv1.MapResponse) {
	if s := f.subscribers[id]; s != nil {
		f.send(s, f.delta(m))
	}
}

func (f *fanout) delta(m *meshdv1.MapResponse) *frame {
	m.HubTimeUnixMs = f.now().UnixMilli()
	return newFrame(m)
}

// full is the whole mesh as a member may see it.
func (f *fanout) full(m Member, n *Network) *frame {
	message := &meshdv1.MapResponse{Full: true, Self: f.self(m)}
	if m.Active() {
		message.Mesh = f.mesh
		for id, r := range f.records {
			if MaySee(m, n.members[id]) {
				message.Members = append(message.Members, r)
			}
		}
	}
	return f.delta(message)
}

// notMember is what a stranger hears, and a member on the day it is one no more.
func notMember(mesh, why string) error {
	return Errorf(connect.CodeUnauthenticated, "join again: meshd up JOIN", "this machine is no member of mesh %q: %s", mesh, why)
}
