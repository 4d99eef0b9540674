package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"connectrpc.com/connect"
)

// Explain turns an error of a call to the coordinator, or of a join string,
// into one sentence that names what was tried, and a hint ("" for none) about
// what to do. It is the only place that puts such errors into words.
func Explain(err error) (sentence, hint string) {
	if answer := (*connect.Error)(nil); errors.As(err, &answer) {
		if connect.IsWireError(answer) {
			return answer.Message(), hintOf(answer)
		}
		err = answer.Unwrap()
	}
	if err == nil {
		return "the coordinator gave no reason", ""
	}
	if dial, ok := tellingDial(err); ok {
		return explainDial(dial)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "the coordinator did not answer in time", hintNetwork
	case errors.Is(err, context.Canceled):
		return "interrupted", ""
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), isOp(err):
		return fmt.Sprintf("the connection to the coordinator broke: %v", err), hintNetwork
	}
	return err.Error(), ""
}

const (
	hintJoin    = "ask for a new join string: meshd coordinator key create"
	hintNetwork = "check the network between here and the coordinator, and its log"
	hintFailing = "see the coordinator's log"
)

// hintOf returns the hint that came with an answer, or what its code suggests.
func hintOf(answer *connect.Error) string {
	if hint := answer.Meta().Get(hintHeader); hint != "" {
		return hint
	}
	switch answer.Code() {
	case connect.CodeUnauthenticated:
		return "join again, by a new join string: meshd up JOIN"
	case connect.CodePermissionDenied:
		return hintJoin
	case connect.CodeUnimplemented:
		return "the coordinator may be older than this meshd: meshd coordinator status"
	case connect.CodeInternal, connect.CodeUnknown, connect.CodeDataLoss:
		return hintFailing
	}
	return ""
}

// tellingDial picks, of the failures at several hosts, the one that says most:
// a server that proves to be another beats one that is silent.
func tellingDial(err error) (dial *DialError, found bool) {
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range list.Unwrap() {
			if d, ok := tellingDial(e); ok && (dial == nil || tells(d.Err) && !tells(dial.Err)) {
				dial = d
			}
		}
		return dial, dial != nil
	}
	if d, ok := err.(*DialError); ok {
		return d, true
	}
	if inner := errors.Unwrap(err); inner != nil {
		return tellingDial(inner)
	}
	return nil, false
}

func tells(err error) bool {
	var pin *PinError
	var other *NotCoordinatorError
	return errors.As(err, &pin) || errors.As(err, &other) || isOp(err, "remote error")
}

func explainDial(d *DialError) (sentence, hint string) {
	if strings.HasPrefix(d.Addr, "/") || strings.HasSuffix(d.Addr, ".sock") {
		return explainSocket(d)
	}
	var pin *PinError
	var other *NotCoordinatorError
	var header tls.RecordHeaderError
	switch {
	case errors.As(d.Err, &pin):
		return fmt.Sprintf("the coordinator at %s proved to be %s, but this join string is for %s", d.Addr, pin.Got, pin.Want),
			"ask for a new join string, or check the host name"
	case errors.As(d.Err, &other):
		return fmt.Sprintf("what answers at %s is no meshd coordinator: it showed %s", d.Addr, other.Found),
			"check the host and port of the join string, and that nothing on the way takes TLS apart"
	case errors.As(d.Err, &header):
		return fmt.Sprintf("what answers at %s does not speak TLS", d.Addr), "check the host and port of the join string"
	case isOp(d.Err, "remote error"):
		return fmt.Sprintf("the coordinator at %s refused the connection: %s", d.Addr, innermost(d.Err)),
			"check that both sides run a current meshd: meshd version"
	case isOp(d.Err, "proxyconnect"):
		return fmt.Sprintf("the proxy on the way to %s does not work: %s", d.Addr, innermost(d.Err)),
			"check HTTPS_PROXY, or put the coordinator's host into NO_PROXY"
	}
	return explainNetwork(d)
}

func explainNetwork(d *DialError) (sentence, hint string) {
	var dns *net.DNSError
	switch {
	case errors.As(d.Err, &dns) && dns.IsNotFound:
		return fmt.Sprintf("the coordinator's host %s has no address", dns.Name), "check the host name, or use the coordinator's IP address"
	case errors.As(d.Err, &dns):
		return fmt.Sprintf("cannot look up the coordinator's host %s: %s", dns.Name, dns.Err), "check this machine's DNS, or use the coordinator's IP address"
	case errors.Is(d.Err, syscall.ECONNREFUSED):
		return fmt.Sprintf("nothing answers at %s: connection refused", d.Addr), "check that `meshd coordinator serve` runs there, on that port"
	case isTimeout(d.Err):
		return fmt.Sprintf("no answer from %s: timed out", d.Addr), "check the host, and that firewalls on the way let its TCP port in"
	case errors.Is(d.Err, syscall.ENETUNREACH), errors.Is(d.Err, syscall.EHOSTUNREACH):
		return fmt.Sprintf("%s cannot be reached from here: %s", d.Addr, innermost(d.Err)), "check this machine's network"
	case errors.Is(d.Err, context.Canceled):
		return "interrupted", ""
	case errors.Is(d.Err, io.ErrUnexpectedEOF), errors.Is(d.Err, syscall.ECONNRESET):
		return fmt.Sprintf("%s hung up", d.Addr), "check the port of the join string, and the coordinator's log"
	}
	return fmt.Sprintf("cannot talk to the coordinator at %s: %v", d.Addr, d.Err), hintNetwork
}

func explainSocket(d *DialError) (sentence, hint string) {
	if errors.Is(d.Err, os.ErrPermission) {
		return fmt.Sprintf("may not open %s: permission denied", d.Addr), "run it as root, or as the user that the coordinator runs as"
	}
	if errors.Is(d.Err, os.ErrNotExist) || errors.Is(d.Err, syscall.ECONNREFUSED) {
		return fmt.Sprintf("no coordinator answers at %s", d.Addr), "start it: meshd coordinator serve; or name its state folder: --state DIR"
	}
	return fmt.Sprintf("cannot talk to the coordinator at %s: %s", d.Addr, innermost(d.Err)), ""
}

// isOp reports whether a network operation failed: one of ops, or any if none is named.
func isOp(err error, ops ...string) bool {
	var op *net.OpError
	if !errors.As(err, &op) {
		return false
	}
	for _, o := range ops {
		if op.Op == o {
			return true
		}
	}
	return len(ops) == 0
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// innermost strips the wrappings: "connection refused" says what
// "dial tcp 203.0.113.1:443: connect: connection refused" says.
func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
