package coordinator

import (
	"context"
	"errors"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"meshd/coordinator/api"
	"meshd/coordinator/api/meshd/v1/meshdv1connect"
)

// right is what a caller must be for a call.
type right uint8

const (
	anyone right = iota + 1 // who proved to own some identity
	member                  // of any standing
	owner                   // of the admin socket
)

// rights is the whole of who may call what. What is not here is refused.
var rights = map[string]right{
	meshdv1connect.ControlServiceJoinProcedure:      anyone,
	meshdv1connect.ControlServiceMapProcedure:       member,
	meshdv1connect.ControlServiceRotateKeyProcedure: member,
	meshdv1connect.ControlServiceLeaveProcedure:     member,

	meshdv1connect.AdminServiceCreateKeyProcedure:     owner,
	meshdv1connect.AdminServiceListKeysProcedure:      owner,
	meshdv1connect.AdminServiceExpireKeyProcedure:     owner,
	meshdv1connect.AdminServiceListMembersProcedure:   owner,
	meshdv1connect.AdminServiceApproveMemberProcedure: owner,
	meshdv1connect.AdminServiceRenameMemberProcedure:  owner,
	meshdv1connect.AdminServiceExpireMemberProcedure:  owner,
	meshdv1connect.AdminServiceDeleteMemberProcedure:  owner,
	meshdv1connect.AdminServiceAddClientProcedure:     owner,
	meshdv1connect.AdminServiceClientConfigProcedure:  owner,
	meshdv1connect.AdminServiceStatusProcedure:        owner,
}

// interceptor is the single place of authentication and rights, and the one
// where errors become what callers read.
type interceptor struct{ c *Coordinator }

// WrapUnary implements [connect.Interceptor].
func (i *interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		ctx, err := i.authorise(ctx, req.Spec().Procedure)
		if err != nil {
			return nil, i.answer(req.Spec(), err)
		}
		resp, err := next(ctx, req)
		return resp, i.answer(req.Spec(), err)
	}
}

// WrapStreamingHandler implements [connect.Interceptor].
func (i *interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		ctx, err := i.authorise(ctx, conn.Spec().Procedure)
		if err == nil {
			err = next(ctx, conn)
		}
		return i.answer(conn.Spec(), err)
	}
}

// WrapStreamingClient implements [connect.Interceptor].
func (i *interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

type memberKey struct{}

// authorise answers whether this call may be made, and puts the member that
// makes it into the context.
func (i *interceptor) authorise(ctx context.Context, procedure string) (context.Context, error) {
	switch rights[procedure] {
	case owner:
		if ctx.Value(ownerKey{}) == nil {
			return ctx, denied("use the unix socket in the state folder", "%s is for the owner of the mesh", procedure)
		}
		return ctx, nil
	case member:
		m, err := i.c.caller(ctx)
		return context.WithValue(ctx, memberKey{}, m.ID), err
	case anyone:
		return ctx, nil
	}
	return ctx, denied("", "%s is for nobody", procedure)
}

// memberOf returns who makes the call, as authorise found out.
func memberOf(ctx context.Context) MemberID { return ctx.Value(memberKey{}).(MemberID) }

// caller returns the member whose identity the connection has proven.
func (c *Coordinator) caller(ctx context.Context) (Member, error) {
	key, ok := api.Caller(ctx)
	if !ok {
		return Member{}, notMember(c.mesh, "it showed no identity")
	}
	m, ok := c.roster.who(PublicKey(key))
	if !ok {
		return Member{}, notMember(c.mesh, "it was deleted, or belongs to another coordinator")
	}
	admit(ctx)
	return m, nil
}

func notActive(m Member) error {
	return denied("meshd coordinator member approve "+m.Name, "member %q is %s", m.Name, m.Standing)
}

// answer turns an error into its form on the wire. What is not meant for the
// caller goes to the log.
func (i *interceptor) answer(spec connect.Spec, err error) error {
	refusal, wire := (*Error)(nil), (*connect.Error)(nil)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal):
		return api.NewError(refusal.Code, refusal.Error(), refusal.Hint())
	case errors.As(err, &wire):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeCanceled, err)
	}
	i.c.log.Warn("call failed", "call", spec.Procedure, "err", err)
	return api.NewError(connect.CodeInternal, "the coordinator failed; its log says why", "")
}

type ownerKey struct{}

// asOwner marks what comes by the admin socket.
func asOwner(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), ownerKey{}, true)))
	})
}

type responseKey struct{}

// withResponseControl bounds the time for a request's body, and lets the map
// stream set deadlines of its own.
func withResponseControl(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		control.SetReadDeadline(time.Now().Add(bodyTimeout))
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), responseKey{}, control)))
	})
}

func responseControl(ctx context.Context) *http.ResponseController {
	return ctx.Value(responseKey{}).(*http.ResponseController)
}
