package coordinator

import (
	"errors"
	"fmt"

	"connectrpc.com/connect"
)

// Error is a refusal as the person at the other end reads it: one sentence that
// names the value, and what to do about it.
type Error struct {
	Code connect.Code
	err  error
	hint string
}

// Errorf makes an [Error]. An empty hint is none; %w keeps a cause testable.
func Errorf(code connect.Code, hint, format string, args ...any) *Error {
	return &Error{Code: code, err: fmt.Errorf(format, args...), hint: hint}
}

func (e *Error) Error() string { return e.err.Error() }

// Hint returns what to do about it, or "".
func (e *Error) Hint() string { return e.hint }

func (e *Error) Unwrap() error { return errors.Unwrap(e.err) }

func invalid(format string, args ...any) error {
	return Errorf(connect.CodeInvalidArgument, "", format, args...)
}

func denied(hint, format string, args ...any) error {
	return Errorf(connect.CodePermissionDenied, hint, format, args...)
}
