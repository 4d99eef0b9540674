package apitest

import (
	"bytes"
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"meshd/coordinator/api"
	meshdv1 "meshd/coordinator/api/meshd/v1"
)

// service is the hub as its agents see it.
type service struct{ h *Hub }

func (s service) Join(ctx context.Context, r *meshdv1.JoinRequest) (*meshdv1.JoinResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.h.joins++
	m, err := s.h.caller(ctx)
	if err != nil {
		if !bytes.Equal(r.Secret, s.h.secret[:]) {
			return nil, api.NewError(connect.CodePermissionDenied, "the join string is unknown, used or expired", "")
		}
		key, _ := api.Caller(ctx)
		m = s.h.add(key, r.WireguardKey, r.Hostname)
		s.h.changed(m)
	}
	return &meshdv1.JoinResponse{Pending: m.pending, Name: m.info.Name, Mesh: "apitest"}, nil
}

func (s service) Map(ctx context.Context, _ *meshdv1.MapRequest, stream *connect.ServerStream[meshdv1.MapResponse]) error {
	out, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer s.close(ctx, out)
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		msg := &meshdv1.MapResponse{}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case next, ok := <-out:
			if !ok {
				return api.NewError(connect.CodeAborted, "the stream was cut off", "")
			}
			msg = proto.CloneOf(next) // the same delta goes to several streams
		}
		msg.HubTimeUnixMs = time.Now().UnixMilli()
		if err := stream.Send(msg); err != nil {
			return err
		}
	}
}

// open makes the caller online and queues its full map.
func (s service) open(ctx context.Context) (chan *meshdv1.MapResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	m, err := s.h.caller(ctx)
	if err != nil {
		return nil, err
	}
	m.cut() // an older stream of the same member
	m.out = make(chan *meshdv1.MapResponse, 64)
	m.info.Online = true
	m.send(s.h.full(m))
	s.h.changed(m)
	return m.out, nil
}

// close makes the caller offline, unless a newer stream has taken over.
func (s service) close(ctx context.Context, out chan *meshdv1.MapResponse) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	m, err := s.h.caller(ctx)
	if err != nil || m.out != nil && m.out != out {
		return
	}
	m.cut()
	m.info.Online = false
	s.h.changed(m)
}

func (s service) RotateKey(ctx context.Context, r *meshdv1.RotateKeyRequest) (*meshdv1.RotateKeyResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	m, err := s.h.caller(ctx)
	if err != nil {
		return nil, err
	}
	m.info.WireguardKey = r.WireguardKey
	s.h.changed(m)
	return &meshdv1.RotateKeyResponse{}, nil
}

func (s service) Leave(ctx context.Context, _ *meshdv1.LeaveRequest) (*meshdv1.LeaveResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	m, err := s.h.caller(ctx)
	if err != nil {
		return nil, err
	}
	s.h.remove(m)
	return &meshdv1.LeaveResponse{}, nil
}

// send queues a message; a stream that falls behind is cut off, as the real one is.
func (m *member) send(msg *meshdv1.MapResponse) {
	if m.out == nil {
		return
	}
	select {
	case m.out <- msg:
	default:
		m.cut()
	}
}

func (m *member) cut() {
	if m.out != nil {
		close(m.out)
		m.out = nil
	}
}

func clone(m *meshdv1.Member) *meshdv1.Member { return proto.CloneOf(m) }
