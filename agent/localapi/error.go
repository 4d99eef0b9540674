package localapi

import "errors"

// ErrNotRunning means that no daemon listens on the socket. Errors of [Client]
// wrap it.
var ErrNotRunning = errors.New("no meshd daemon is running")

// ErrHungUp means that a daemon took the question and ended before it answered.
// Errors of [Client] wrap it.
var ErrHungUp = errors.New("the meshd daemon hung up")

// Error is a sentence for a person and what to try next. It is the body of
// every answer that is not 2xx, and the type of every error that the agent
// expects somebody to read.
type Error struct {
	Message string `json:"error"`
	Hint    string `json:"hint,omitempty"` // may be empty

	cause error // for errors.Is; stays in the process
}

// Error returns the sentence without the hint.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the error that [WithHint] was given.
func (e *Error) Unwrap() error { return e.cause }

// WithHint gives err a hint. It returns nil for a nil err, and keeps a hint that
// is there already.
func WithHint(err error, hint string) error {
	if err == nil || HintOf(err) != "" {
		return err
	}
	return &Error{Message: err.Error(), Hint: hint, cause: err}
}

// HintOf returns the hint that travels with err, or "".
func HintOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Hint
	}
	return ""
}

// asError makes any error fit for the wire: its whole sentence, its hint.
func asError(err error) *Error { return &Error{Message: err.Error(), Hint: HintOf(err)} }
