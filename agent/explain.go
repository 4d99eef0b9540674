package agent

import (
	"errors"

	"connectrpc.com/connect"

	"meshd/agent/localapi"
	"meshd/agent/tunnel"
	"meshd/coordinator/api"
)

// explain makes a sentence and a hint of any error that reaches a person: the
// coordinator's and the tunnel's have their own way to carry them.
func explain(err error) *localapi.Error {
	if e, ok := errors.AsType[*localapi.Error](err); ok {
		return &localapi.Error{Message: err.Error(), Hint: e.Hint}
	}
	if e, ok := errors.AsType[*tunnel.Error](err); ok {
		return &localapi.Error{Message: err.Error(), Hint: e.Hint}
	}
	_, answered := errors.AsType[*connect.Error](err)
	_, dialed := errors.AsType[*api.DialError](err)
	if answered || dialed {
		sentence, hint := api.Explain(err)
		return &localapi.Error{Message: sentence, Hint: hint}
	}
	return &localapi.Error{Message: err.Error()}
}
