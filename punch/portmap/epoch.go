package portmap

import "time"

// epoch follows the uptime that a gateway tells in its answers, to see when it
// lost its mappings. The zero value has heard nothing yet.
type epoch struct {
	heard   bool
	seconds uint32
	at      time.Time
}

// observe reports whether u, told at now, fits what was told before, and keeps it.
// The tolerance is that of RFC 6887 §8.5: a second backwards, and clocks that
// differ by a sixteenth and two seconds. RFC 6886 §3.6 asks for one side of it.
func (e *epoch) observe(now time.Time, u uptime) bool {
	if !u.known {
		return true
	}
	was := *e
	*e = epoch{heard: true, seconds: u.seconds, at: now}
	if !was.heard {
		return true
	}
	server := int64(u.seconds) - int64(was.seconds)
	client := int64(now.Sub(was.at) / time.Second)
	return server >= -1 && client+2 >= server-server/16 && server+2 >= client-client/16
}
