package coordinator

import (
	"context"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"

	"meshd/coordinator/api"
	meshdv1 "meshd/coordinator/api/meshd/v1"
)

const (
	heartbeatEvery = 20 * time.Second
	// sendTimeout is how long an agent may take to accept one message.
	sendTimeout = 30 * time.Second
	// farewell is how long it may take to accept why its stream ends.
	farewell = time.Second
)

// controlService implements meshdv1connect.ControlServiceHandler.
type controlService struct {
	c        *Coordinator
	attempts *attempts
}

// Join implements the method of that name; see control.proto.
func (s *controlService) Join(ctx context.Context, r *meshdv1.JoinRequest) (*meshdv1.JoinResponse, error) {
	identity, _ := api.Caller(ctx)
	e := Join{Identity: PublicKey(identity), Hostname: r.GetHostname(), Version: r.GetVersion()}
	if len(r.GetWireguardKey()) != len(e.WireGuard) {
		return nil, invalid("a WireGuard key of %d bytes is none", len(r.GetWireguardKey()))
	}
	e.WireGuard = PublicKey(r.GetWireguardKey())
	if len(r.GetSecret()) > 0 {
		e.Secret = HashSecret(r.GetSecret())
	}
	source := sourceOf(ctx)
	if !s.attempts.allowed(source) {
		return nil, Errorf(connect.CodeResourceExhausted, "wait a minute, then try again", "too many failed joins from %s", source)
	}
	m, err := s.c.join(ctx, e)
	if err != nil {
		s.attempts.failed(source)
		return nil, err
	}
	admit(ctx)
	return &meshdv1.JoinResponse{Pending: !m.Active(), Name: m.Name, Mesh: s.c.mesh}, nil
}

func (c *Coordinator) join(ctx context.Context, e Join) (m Member, err error) {
	stopped := c.do(ctx, func() {
		if err = c.handle(e); err == nil {
			m, _ = c.network.ByIdentity(e.Identity)
		}
	})
	if stopped != nil {
		return Member{}, stopped
	}
	return m, err
}

// submit handles an event for a caller that waits for the outcome.
func (c *Coordinator) submit(ctx context.Context, e Event) (err error) {
	if stopped := c.do(ctx, func() { err = c.handle(e) }); stopped != nil {
		return stopped
	}
	return err
}

// Map implements the method of that name; see control.proto.
func (s *controlService) Map(ctx context.Context, r *meshdv1.MapRequest, stream *connect.ServerStream[meshdv1.MapResponse]) error {
	control := responseControl(ctx)
	control.SetReadDeadline(time.Time{}) // the request is read; the stream lasts
	sub := newSubscriber(memberOf(ctx), func() { control.SetWriteDeadline(time.Now().Add(farewell)) })
	if err := s.c.subscribe(ctx, sub, r.GetVersion()); err != nil {
		return err
	}
	defer s.c.unsubscribe(sub)
	return s.c.pump(ctx, sub, control, stream)
}

// subscribe makes the member online.
func (c *Coordinator) subscribe(ctx context.Context, sub *subscriber, version string) (err error) {
	stopped := c.do(ctx, func() {
		if err = c.handle(Connect{ID: sub.id, Version: version}); err == nil {
			c.fanout.add(sub, c.network)
		}
	})
	if stopped != nil {
		return stopped
	}
	return err
}

// unsubscribe makes the member offline, if this was its last stream. A stopping
// coordinator leaves it as it is.
func (c *Coordinator) unsubscribe(sub *subscriber) {
	c.do(context.Background(), func() {
		if c.fanout.remove(sub) {
			c.handleQuietly(Disconnect{sub.id})
		}
	})
}

// pump carries messages from the fan-out to one agent.
func (c *Coordinator) pump(
	ctx context.Context, sub *subscriber, control *http.ResponseController, stream *connect.ServerStream[meshdv1.MapResponse],
) error {
	plain := isJSON(stream.Conn().RequestHeader())
	heartbeat := time.NewTicker(heartbeatEvery)
	defer heartbeat.Stop()
	for {
		f, err := sub.next(ctx, heartbeat.C)
		if err != nil {
			control.SetWriteDeadline(time.Now().Add(farewell))
			return err
		}
		control.SetWriteDeadline(time.Now().Add(sendTimeout))
		if err := stream.Send(f.form(plain)); err != nil {
			return err
		}
		control.SetWriteDeadline(time.Time{})
	}
}

func isJSON(h http.Header) bool { return strings.Contains(h.Get("Content-Type"), "json") }

// RotateKey implements the method of that name; see control.proto.
func (s *controlService) RotateKey(ctx context.Context, r *meshdv1.RotateKeyRequest) (*meshdv1.RotateKeyResponse, error) {
	if len(r.GetWireguardKey()) != len(PublicKey{}) {
		return nil, invalid("a WireGuard key of %d bytes is none", len(r.GetWireguardKey()))
	}
	err := s.c.submit(ctx, RotateKey{ID: memberOf(ctx), WireGuard: PublicKey(r.GetWireguardKey())})
	return &meshdv1.RotateKeyResponse{}, err
}

// Leave implements the method of that name; see control.proto.
func (s *controlService) Leave(ctx context.Context, _ *meshdv1.LeaveRequest) (*meshdv1.LeaveResponse, error) {
	return &meshdv1.LeaveResponse{}, s.c.submit(ctx, Delete{memberOf(ctx)})
}
