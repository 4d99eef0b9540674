package agent

import (
	"fmt"

	"meshd/agent/localapi"
	"meshd/punch"
)

// Words of the settings about relaying by members.
const (
	relayAuto = "auto"
	relayOn   = "on"
	relayOff  = "off"
)

var offers = map[string]punch.Offer{"": punch.OfferAuto, relayAuto: punch.OfferAuto, relayOn: punch.OfferOn, relayOff: punch.OfferOff}

func (c Config) checkRelaying() error {
	if _, known := offers[c.Relay]; !known {
		return localapi.WithHint(fmt.Errorf("relay %q is unknown", c.Relay), "use auto, on or off")
	}
	if u := c.UseRelays; u != "" && u != relayOn && u != relayOff {
		return localapi.WithHint(fmt.Errorf("use of relays %q is unknown", u), "use on or off")
	}
	return nil
}

// keepRelaying makes what the command line said what later starts do, and reports
// whether that is another thing than before.
func (l *loop) keepRelaying() (changed bool) {
	keep := func(kept *string, said string) {
		if said != "" && *kept != said {
			*kept, changed = said, true
		}
	}
	keep(&l.state.Relay, l.cfg.Relay)
	keep(&l.state.UseRelays, l.cfg.UseRelays)
	return changed
}
