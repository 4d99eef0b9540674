package relay

// Via is how a member is connected to a relay.
type Via uint8

// Ways to a relay.
const (
	UDP       Via = 1
	WebSocket Via = 2
)

// String returns the word used in logs and status.
func (v Via) String() string {
	switch v {
	case UDP:
		return "udp"
	case WebSocket:
		return "tls"
	}
	return "none"
}
