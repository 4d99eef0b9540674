package tunnel

// Error is a failure that a person can do something about.
type Error struct {
	Message string // the attempt and the value
	Hint    string // what to try next; may be empty

	cause error // for errors.Is; may be nil
}

// Error returns the message without the hint.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the system's error.
func (e *Error) Unwrap() error { return e.cause }

const hintInterface = "choose another name with --interface"
