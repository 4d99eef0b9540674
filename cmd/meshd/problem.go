package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"meshd/agent/localapi"
	"meshd/coordinator/api"
)

// Exit codes.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2 // the command line is wrong; nothing was done
	exitWaiting = 3 // up: not yet, when --wait ran out; the daemon goes on
)

// problem is an error as a person reads it. Without a sentence nothing is
// printed: the answer on stdout has said it.
type problem struct {
	sentence, hint string
	code           int
}

func (p *problem) Error() string { return p.sentence }

func failure(hint, format string, args ...any) error {
	return &problem{fmt.Sprintf(format, args...), hint, exitFailed}
}

func usageError(cmd *cobra.Command, format string, args ...any) error {
	return &problem{fmt.Sprintf(format, args...), cmd.CommandPath() + " --help", exitUsage}
}

// explain finds the words for any error: those who know most put them into it.
func explain(err error) *problem {
	if p := (*problem)(nil); errors.As(err, &p) {
		return p
	}
	if hint := localapi.HintOf(err); hint != "" {
		return &problem{err.Error(), hint, exitFailed}
	}
	var hinted interface{ Hint() string } // the coordinator's
	if errors.As(err, &hinted) {
		return &problem{err.Error(), hinted.Hint(), exitFailed}
	}
	sentence, hint := api.Explain(err)
	return &problem{sentence, hint, exitFailed}
}
