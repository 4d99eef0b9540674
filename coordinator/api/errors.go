package api

import (
	"errors"
	"fmt"

	"connectrpc.com/connect"
)

// PinError says that a server proved to be a coordinator, but another one.
type PinError struct {
	Want Pin // of the join string
	Got  Pin
}

func (e *PinError) Error() string { return fmt.Sprintf("coordinator is %s, want %s", e.Got, e.Want) }

// NotCoordinatorError says that a server speaks TLS but has no Ed25519 identity.
type NotCoordinatorError struct {
	Found string // what it showed instead
}

func (e *NotCoordinatorError) Error() string { return "no coordinator: it showed " + e.Found }

// DialError says that a call got no answer, and where it was tried.
type DialError struct {
	Addr string // host:port, or the path of a unix socket
	Err  error
}

func (e *DialError) Error() string { return fmt.Sprintf("reach %s: %v", e.Addr, e.Err) }

func (e *DialError) Unwrap() error { return e.Err }

// hintHeader carries the hint of an error beside its message.
const hintHeader = "Meshd-Hint"

// NewError returns the error that a handler answers with: a code for programs,
// and for people a sentence that names the value and (or "") what to do about
// it, in ASCII. [Explain] takes them apart again at the other end.
func NewError(code connect.Code, sentence, hint string) *connect.Error {
	err := connect.NewError(code, errors.New(sentence))
	if hint != "" {
		err.Meta().Set(hintHeader, hint)
	}
	return err
}
