package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"connectrpc.com/connect"
)

// What real servers provoke is in TestWhatIsSaid; here is what they cannot.
func TestExplain(t *testing.T) {
	dial := func(err error) error {
		return connect.NewError(connect.CodeUnavailable, errors.Join(&DialError{Addr: "hub:443", Err: err}))
	}
	op := func(name string, err error) error { return &net.OpError{Op: name, Net: "tcp", Err: err} }
	wire := func(code connect.Code) error {
		return fmt.Errorf("join: %w", connect.NewWireError(code, errors.New("so it is")))
	}
	const join = "join again, by a new join string: meshd up JOIN"
	tests := []struct {
		err            error
		sentence, hint string
	}{
		{dial(op("dial", os.ErrDeadlineExceeded)), "no answer from hub:443: timed out", "check the host, and that firewalls on the way let its TCP port in"},
		{dial(op("dial", os.NewSyscallError("connect", syscall.ENETUNREACH))), "hub:443 cannot be reached from here: network is unreachable", "check this machine's network"},
		{dial(op("proxyconnect", op("dial", syscall.ECONNREFUSED))), "the proxy on the way to hub:443 does not work: connection refused",
			"check HTTPS_PROXY, or put the coordinator's host into NO_PROXY"},
		{dial(&net.DNSError{Name: "hub", Err: "server misbehaving", IsTemporary: true}), "cannot look up the coordinator's host hub: server misbehaving",
			"check this machine's DNS, or use the coordinator's IP address"},
		{dial(errors.New("Forbidden")), "cannot talk to the coordinator at hub:443: Forbidden", hintNetwork},
		{dial(context.Canceled), "interrupted", ""},
		{&DialError{Addr: "/x/coordinator.sock", Err: op("dial", syscall.EACCES)}, "may not open /x/coordinator.sock: permission denied",
			"run it as root, or as the user that the coordinator runs as"},
		{wire(connect.CodeUnauthenticated), "so it is", join},
		{wire(connect.CodePermissionDenied), "so it is", hintJoin},
		{wire(connect.CodeInternal), "so it is", hintFailing},
		{wire(connect.CodeInvalidArgument), "so it is", ""},
		{NewError(connect.CodeInvalidArgument, "so it is", ""), "so it is", ""},
		{connect.NewError(connect.CodeDeadlineExceeded, context.DeadlineExceeded), "the coordinator did not answer in time", hintNetwork},
		{connect.NewError(connect.CodeUnavailable, io.ErrUnexpectedEOF), "the connection to the coordinator broke: unexpected EOF", hintNetwork},
		{errors.New("join string is empty"), "join string is empty", ""},
	}
	for _, tt := range tests {
		if sentence, hint := Explain(tt.err); sentence != tt.sentence || hint != tt.hint {
			t.Errorf("%v\n got %s\n     %s\nwant %s\n     %s", tt.err, sentence, hint, tt.sentence, tt.hint)
		}
	}
}
