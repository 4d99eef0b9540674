package store

import (
	"fmt"
	"os"
	"strings"
)

// heldError says that another process has the lock.
type heldError struct{ pid string }

func (e *heldError) Error() string { return "held by process " + e.pid }

// takeLock makes a file that only one process at a time holds, and writes into
// it which. The system lets go of it when the process ends, however it ends.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	held, err := tryLock(f)
	if held {
		holder, _ := os.ReadFile(path) // best effort: it is for a message
		f.Close()
		return nil, &heldError{pid: strings.TrimSpace(string(holder))}
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
