package localapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// askTimeout bounds the question to whoever holds the socket already.
const askTimeout = time.Second

// Listen opens the socket at path, readable and writable for its owner and
// group only. A file that a crashed daemon left behind is replaced; a socket
// that somebody answers on is not.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("listen on %q: %v", path, err)
	}
	if err := clearStale(path); err != nil {
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %v", path, err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		ln.Close()
		return nil, fmt.Errorf("listen on %q: %v", path, err)
	}
	return ln, nil
}

// clearStale removes what is left of a dead daemon's socket, and refuses to touch
// anything else.
func clearStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listen on %q: %v", path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return &Error{Message: fmt.Sprintf("listen on %q: there is a file that is no socket", path),
			Hint: "move it away, or choose another path with --socket"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	v, err := patiently(ctx, askTimeout, NewClient(path).Version)
	if errors.Is(err, ErrNotRunning) {
		return os.Remove(path)
	}
	return &Error{Message: fmt.Sprintf("another meshd daemon%s serves %q", pid(v), path),
		Hint: "`meshd down` ends it; a second mesh on this machine needs --mesh NAME"}
}

func pid(v Version) string {
	if v.PID == 0 {
		return ""
	}
	return fmt.Sprintf(" (pid %d)", v.PID)
}
