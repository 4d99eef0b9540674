package relay

import (
	"net/netip"
	"time"
)

// Event is news from a [Client].
type Event interface{ isEvent() }

// Bound says that the relay knows this agent at Observed, or is about to, by an ANSWER
// that goes before anything else. It comes with every CHALLENGE that is answered and
// with every WELCOME, so also with every keepalive; what it says may be the same as
// before.
type Bound struct {
	Observed netip.AddrPort // as what the relay sees this agent
	RTT      time.Duration  // to the relay and back
	HubTime  time.Time      // the relay's clock half an RTT ago
	Epoch    uint16         // to be put into the header of data
}

// Lost says that the relay has stopped answering. The client goes on asking.
type Lost struct{}

func (Bound) isEvent() {}
func (Lost) isEvent()  {}
