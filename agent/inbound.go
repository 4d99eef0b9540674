package agent

import (
	"context"
	"fmt"

	"meshd/agent/tunnel/filter"
)

// inboundAll is what holds unless the owner says otherwise.
var inboundAll = filter.Rules(nil).String()

func putInbound(s *state, value string) error {
	rules, err := filter.Parse(value)
	if err != nil {
		return fmt.Errorf("inbound: %w", err)
	}
	s.Inbound = rules.String()
	return nil
}

// inbound is what the tunnel is told.
func (s *state) inbound() filter.Rules {
	if s.Inbound == "" {
		return nil
	}
	rules, err := filter.Parse(s.Inbound)
	if err != nil {
		return filter.Rules{} // the file was changed by hand: better closed than open
	}
	return rules
}

// heedInbound would rather have no mesh than one that is open against the owner's
// word.
func (l *loop) heedInbound(context.Context) {
	if err := l.plane.tunnel.SetInbound(l.state.inbound()); err != nil {
		l.lower()
		// Nothing ends for it: a daemon that has been up tries again.
		_ = l.fail(explain(err))
	}
}
