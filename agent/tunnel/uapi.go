package tunnel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// uapiPatience is how long a client of the socket may take for a request.
const uapiPatience = 5 * time.Second

// serveUAPI answers requests on l until ctx ends, and returns when the last
// connection is closed.
func serveUAPI(ctx context.Context, l net.Listener, get func(io.Writer) error) {
	var conns sync.WaitGroup
	defer conns.Wait()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		c, err := l.Accept()
		if err != nil {
			l.Close()
			return
		}
		conns.Go(func() {
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			for r := bufio.NewReaderSize(c, 64); answerUAPI(c, r, get) == nil; {
			}
		})
	}
}

// errRefused ends a connection that asked for something else than "get".
var errRefused = errors.New("refused")

// answerUAPI answers one request of WireGuard's cross-platform protocol. "get"
// is the only one: a "set" from outside would fight the coordinator's map, or
// reopen the bind under the mesh.
func answerUAPI(c net.Conn, r *bufio.Reader, get func(io.Writer) error) error {
	if err := c.SetDeadline(time.Now().Add(uapiPatience)); err != nil {
		return err
	}
	request, err := r.ReadSlice('\n')
	if err != nil || len(request) == 1 { // an empty line ends the request before
		return err
	}
	w := bufio.NewWriter(c)
	if string(request) != "get=1\n" {
		fmt.Fprintf(w, "errno=%d\n\n", -errnoPerm)
		return errors.Join(w.Flush(), errRefused)
	}
	if err := get(w); err != nil {
		return err
	}
	fmt.Fprint(w, "errno=0\n\n")
	return w.Flush()
}
