package dnssd

import (
	"slices"
	"time"
)

// maxSameSecond is how many updates signed in one second a key may send.
const maxSameSecond = 64

// replay guards one key against updates that were recorded and are sent again:
// the time of signing never goes back (RFC 8945 §5.2.3). Its unit is the
// second, so within the newest one signatures are told apart, and only the very
// last may come again, as a client does that missed the answer.
type replay struct {
	at   time.Time
	macs []string // signed at that second, in order of arrival
}

// fresh reports whether a message of this time and MAC may be heard.
func (r *replay) fresh(at time.Time, mac string) bool {
	switch {
	case at.After(r.at):
		return true
	case at.Before(r.at) || len(r.macs) == maxSameSecond:
		return false
	}
	i := slices.Index(r.macs, mac)
	return i < 0 || i == len(r.macs)-1
}

// note remembers a message that was fresh and done.
func (r *replay) note(at time.Time, mac string) {
	if at.After(r.at) {
		r.at, r.macs = at, nil
	}
	if !slices.Contains(r.macs, mac) {
		r.macs = append(r.macs, mac)
	}
}
